"""What matters of one event of a stream, and the cheap test that spares reading most of them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.peek import Chunk, maybe_terminal, read_chunk
from wire.sse import encode


def read(chunk: Any) -> Chunk:
    found = read_chunk(json.dumps(chunk).encode())
    assert found is not None
    return found


def delta(*deltas: dict[str, Any], finish: Any = None, **more: Any) -> dict[str, Any]:
    choices = [{"index": index, "delta": one, "logprobs": None, "finish_reason": finish} for index, one in enumerate(deltas)]
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": choices, **more}


@pytest.mark.parametrize(
    ("one", "text"),
    [
        ({"content": "hi"}, "hi"),
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning": "hm"}, "hm"),
        ({"reasoning": "hm", "reasoning_content": "hm"}, "hm"),
        ({"content": "b", "reasoning_content": "a"}, "ab"),
        ({"refusal": "no"}, "no"),
        ({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "go", "arguments": ""}}]}, "go"),
        ({"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}, '{"a"'),
        ({"tool_calls": [{"index": 0, "function": {"arguments": {"a": 1}}}]}, '{"a":1}'),
        ({"function_call": {"name": "go"}}, "go"),
        ({"audio": {"id": "a", "transcript": "hi"}}, "hi"),
        ({"audio": {"data": "AAAA"}}, ""),
        ({"images": [{}]}, ""),
    ],
)
def test_content_of_every_kind(one: dict[str, Any], text: str) -> None:
    assert read(delta(one)) == Chunk(1, True, text, False, None, None)


@pytest.mark.parametrize(
    "one", [{}, {"role": "assistant"}, {"role": "assistant", "content": ""}, {"content": None, "refusal": None, "tool_calls": None}]
)
def test_a_role_alone_is_no_content(one: dict[str, Any]) -> None:
    assert read(delta(one)) == Chunk(1, False, "", False, None, None)


def test_content_as_a_list_is_counted() -> None:
    assert read(delta({"content": [{"type": "thinking", "thinking": "hm"}]})).content


def test_a_completion_chunk() -> None:
    assert read({"choices": [{"text": "hi", "index": 0, "finish_reason": None}]}) == Chunk(1, True, "hi", False, None, None)


def test_choices_are_joined() -> None:
    assert read(delta({"content": "a"}, {"role": "assistant"}, {"content": "b"})) == Chunk(3, True, "ab", False, None, None)


@pytest.mark.parametrize(("reason", "finish"), [("stop", True), ("tool_calls", True), ("", False), (None, False)])
def test_an_empty_string_is_no_finish_reason(reason: str | None, finish: bool) -> None:
    assert read(delta({}, finish=reason)).finish is finish


def test_usage_comes_with_or_without_choices() -> None:
    alone = read({"choices": [], "usage": {"prompt_tokens": 1}})
    beside = read(delta({}, finish="stop", usage={"prompt_tokens": 1}))
    null = read(delta({"content": "a"}, usage=None))

    assert (alone.choices, bytes(alone.usage or b"")) == (0, b'{"prompt_tokens": 1}')
    assert beside.usage is not None
    assert null.usage is None


def test_an_error_in_mid_stream_is_seen() -> None:
    assert read({"error": {"message": "Overloaded"}}).error is not None


@pytest.mark.parametrize(
    "data", [b"[DONE]", b"", b"{", b"[]", b'"a"', b'{"choices":{}}', b'{"choices":[{"delta":"x"}]}', b'{"x":"\xff', b"[" * 100_000]
)
def test_what_is_no_chunk_is_none(data: bytes) -> None:
    assert read_chunk(data) is None


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("more", [{}, {"usage": None}, {"usage": None, "obfuscation": "aAbB"}])
def test_a_plain_chunk_is_not_terminal(more: dict[str, Any], separators: tuple[str, str]) -> None:
    chunk = delta({"content": ' "finish_reason":"stop" \n'}, **more)

    assert not maybe_terminal(encode(json.dumps(chunk, separators=separators).encode()))


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize(
    "chunk",
    [
        delta({}, finish="stop"),
        delta({"content": "x"}, finish="length"),
        delta({}, finish="stop", usage={"prompt_tokens": 1}),
        delta({"content": "x"}, usage={"prompt_tokens": 1}),
        {"choices": [], "usage": {"prompt_tokens": 1}},
        {"choices": [{"text": "", "finish_reason": "stop"}]},
        {"choices": [{"text": "a", "finish_reason": None}], "usage": {"prompt_tokens": 1}},
        {"choices": [delta({})["choices"][0], delta({}, finish="stop")["choices"][0]]},
        {"error": {"message": "x"}},
        {"error": "x"},
    ],
)
def test_what_ends_fails_or_carries_usage_may_be_terminal(chunk: dict[str, Any], separators: tuple[str, str]) -> None:
    assert maybe_terminal(encode(json.dumps(chunk, separators=separators).encode()))


def test_the_end_may_be_terminal() -> None:
    assert maybe_terminal(b"data: [DONE]\n\n")


texts = st.sampled_from(["", "a", "{", "}", '"', '"delta":{', '"finish_reason":null', "usage", "error", "\n", "你"])
deltas = st.dictionaries(st.sampled_from(["content", "role", "reasoning_content", "refusal"]), texts, max_size=3)
chunks = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries({}, optional={"delta": deltas, "text": texts, "finish_reason": st.sampled_from([None, "", "stop"])}), max_size=2
        )
    },
    optional={"usage": st.sampled_from([None, {}, {"prompt_tokens": 1}]), "error": st.sampled_from([None, {"message": "x"}]), "id": texts},
)


@given(chunk=chunks, separators=st.sampled_from([(",", ":"), (", ", ": ")]))
def test_no_terminal_chunk_is_missed(chunk: dict[str, Any], separators: tuple[str, str]) -> None:
    data = json.dumps(chunk, separators=separators).encode()

    found = read_chunk(data)

    assert found is not None
    if found.finish or found.usage is not None or found.error is not None:
        assert maybe_terminal(encode(data))
