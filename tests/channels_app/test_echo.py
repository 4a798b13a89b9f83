"""The built-in provider: says the prompt back with usage, through the same path as any upstream, and without a network."""

import json

import pytest

from channels_app.provider import Operation
from tests.channels_app.asking import ask_of, channel, fault_of_the_client, opening, rest_of
from wire import sse

ECHO = channel(provider="echo", keys=("",))


def chat(text="say this back", **more):
    return {"model": "echo", "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}], **more}


async def test_a_chat_says_the_last_user_message_back():
    async with opening(ECHO, ask_of(chat())) as opened:
        answer = json.loads(opened.body)
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "say this back"}
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


async def test_content_in_parts():
    parts = [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": "https://x.example"}}, {"type": "text", "text": "two"}]
    async with opening(ECHO, ask_of(chat(parts))) as opened:
        assert json.loads(opened.body)["choices"][0]["message"]["content"].split() == ["one", "two"]


@pytest.mark.parametrize("options", [{}, {"stream_options": {"include_usage": True}}])
async def test_a_stream_says_it_word_by_word_and_reports_usage(options):
    async with opening(ECHO, ask_of(chat(stream=True, **options))) as opened:
        events = sse.Splitter().feed(await rest_of(opened))
        assert opened.hide_usage is not bool(options)  # asked for in any case: the charge needs it
    data = [sse.data_of(event) for event in events]
    assert data[-1] == b"[DONE]"
    chunks = [json.loads(one) for one in data[:-1]]
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks if chunk["choices"]][:3] == ["say ", "this ", "back"]
    assert chunks[-1]["usage"]["total_tokens"] == 8


async def test_a_legacy_completion():
    async with opening(ECHO, ask_of({"model": "echo", "prompt": "a b"}, Operation.COMPLETIONS)) as opened:
        assert json.loads(opened.body)["choices"][0]["text"] == "a b"


async def test_embeddings_of_the_same_text_are_the_same():
    async with opening(ECHO, ask_of({"model": "echo", "input": ["x", "y", "x"]}, Operation.EMBEDDINGS)) as opened:
        first, second, third = (item["embedding"] for item in json.loads(opened.body)["data"])
    assert first == third != second


async def test_moderations_flag_nothing():
    async with opening(ECHO, ask_of({"model": "echo", "input": ["x", "y"]}, Operation.MODERATIONS)) as opened:
        assert [result["flagged"] for result in json.loads(opened.body)["results"]] == [False, False]


async def test_an_empty_prompt_still_has_an_answer_and_usage():
    async with opening(ECHO, ask_of({"model": "echo", "messages": []})) as opened:
        answer = json.loads(opened.body)
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] == 1


async def test_messages_of_another_shape_are_the_clients_fault():
    error = await fault_of_the_client(ECHO, ask_of({"model": "echo", "messages": ["no object"]}))
    assert error.status == 400


@pytest.mark.parametrize("operation", [Operation.EMBEDDINGS, Operation.MODERATIONS])
async def test_no_input_at_all_is_the_clients_fault(operation):
    error = await fault_of_the_client(ECHO, ask_of({"model": "echo", "input": []}, operation))
    assert error.status == 400
