"""What matters of a plain answer: its usage, whether there is anything to pay for, and its text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.peek import Tail, read_answer


def read(answer: Any) -> Tail:
    tail = read_answer(json.dumps(answer).encode())
    assert tail is not None
    return tail


def chat(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        **more,
    }


def test_a_chat_answer() -> None:
    tail = read(chat({"role": "assistant", "content": "Hello!"}, usage={"prompt_tokens": 9, "completion_tokens": 2}))

    assert (tail.model, tail.choices, tail.has_content, tail.text, tail.finish_reason) == ("gpt-4o-mini-2024-07-18", 1, True, "Hello!", "stop")
    assert tail.usage is not None
    assert json.loads(bytes(tail.usage)) == {"prompt_tokens": 9, "completion_tokens": 2}
    assert tail.error is None


def test_a_completion() -> None:
    tail = read({"choices": [{"text": "one", "finish_reason": "length"}, {"text": "two", "finish_reason": None}]})

    assert (tail.choices, tail.text, tail.finish_reason, tail.usage) == (2, "onetwo", "length", None)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": None, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "go", "arguments": "{}"}}]}, "go{}"),
        ({"content": None, "function_call": {"name": "go", "arguments": "{}"}}, "go{}"),
        ({"content": "b", "reasoning_content": "a"}, "ab"),
        ({"content": "b", "reasoning": "a"}, "ab"),
        ({"content": None, "refusal": "no"}, "no"),
        ({"content": None, "audio": {"id": "a", "data": "AAAA", "transcript": "hi"}}, "hi"),
        ({"content": "", "images": [{"type": "image_url"}]}, ""),
    ],
)
def test_all_kinds_of_content_count_as_content(message: dict[str, Any], text: str) -> None:
    tail = read(chat({"role": "assistant", **message}))

    assert (tail.has_content, tail.text) == (True, text)


@pytest.mark.parametrize("message", [{}, {"content": None}, {"content": ""}, {"content": [], "tool_calls": []}])
def test_an_empty_answer_has_no_content(message: dict[str, Any]) -> None:
    tail = read(chat({"role": "assistant", **message}))

    assert (tail.has_content, tail.text) == (False, "")


@pytest.mark.parametrize("answer", [{}, {"choices": []}, {"choices": None}, {"data": []}, {"results": None}, {"usage": None, "error": None}])
def test_an_answer_without_anything_has_nothing(answer: dict[str, Any]) -> None:
    assert read(answer) == Tail(None, 0, False, "", None, None, None)


def test_embeddings_and_moderations_have_content() -> None:
    embedding = read(
        {"object": "list", "data": [{"embedding": [0.1, 0.2]}, {"embedding": "AAAA"}], "model": "e", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
    )
    moderation = read({"id": "m", "model": "omni", "results": [{"flagged": False}]})

    assert (embedding.has_content, embedding.choices, embedding.usage is None) == (True, 2, False)
    assert (moderation.has_content, moderation.choices) == (True, 1)


def test_an_error_with_status_200_is_seen() -> None:
    tail = read({"error": {"message": "Overloaded"}})

    assert tail.error is not None
    assert not tail.has_content


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"choices":5}', b'{"choices":["a"]}', b'{"model":"\xff"}', b'{"a":' * 100_000])
def test_another_shape_is_none(body: bytes) -> None:
    assert read_answer(body) is None


@given(noise=st.binary(max_size=80))
def test_any_bytes_are_an_answer_or_none(noise: bytes) -> None:
    read_answer(noise)
    read_answer(b'{"choices":[{"message":{"content":' + noise + b"}}]}")
