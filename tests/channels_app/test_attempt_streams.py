"""A stream up to its first content: what comes before it waits, what comes after it is not touched."""

import pytest

from outbound.transport import Broken, GapTimeout, Timeouts
from tests.channels_app.asking import ask_of, channel, failure_of, opening, rest_of, streamed
from tests.upstream.answers import TEXT
from wire import sse
from wire.peek import read_chunk

BRIEF = Timeouts(connect=2.0, first=0.4, gap=2.0, total=10.0)


def text_of(stream: bytes) -> str:
    """All text of a stream's events."""
    chunks = (read_chunk(data) for event in sse.Splitter().feed(stream) if (data := sse.data_of(event)) and data != b"[DONE]")
    return "".join(chunk.text for chunk in chunks if chunk is not None)


async def test_role_chunks_and_comments_wait_for_the_content(upstream):
    fault = upstream.fault(comments=True, stall_after=1)
    async with opening(channel(upstream.url), streamed()) as opened:
        assert b": ping\n\n" in opened.buffered
        assert b'"role":"assistant"' in b"".join(opened.buffered)
        assert text_of(b"".join(opened.buffered)) == "Hello"
        fault.release()
        assert text_of(await rest_of(opened)) == TEXT


@pytest.mark.parametrize(
    "fault",
    [
        {},
        {"comments": True},
        {"crlf": True},
        {"split_every_byte": True},
        {"split_every_byte": True, "crlf": True, "comments": True},
        {"one_write": True},
        {"filter_chunks": True},
        {"content": "Grüße, 你好，👋🏽!", "split_every_byte": True},
    ],
    ids=str,
)
async def test_events_are_passed_on_byte_for_byte(upstream, fault):
    upstream.fault(**fault)
    async with opening(channel(upstream.url), streamed(stream_options={"include_usage": True})) as opened:
        stream = await rest_of(opened)
        assert opened.content_type == b"text/event-stream; charset=utf-8"
        assert opened.request_id.startswith("req_")
    assert text_of(stream) == fault.get("content", TEXT)
    end = b"\r\n\r\n" if fault.get("crlf") else b"\n\n"
    assert stream.endswith(b"data: [DONE]" + end)
    assert stream.count(b": ping" + end) == (stream.count(end) // 2 if fault.get("comments") else 0)


async def test_a_role_alone_is_no_content(upstream):
    upstream.fault(role_only_forever=True)
    failure = await failure_of(channel(upstream.url), streamed(), BRIEF)
    assert (failure.verdict.kind, failure.error.code) == ("timeout", "upstream_timeout")
    upstream.wait_for(lambda now: now.aborted == 1 and now.open == 0)


async def test_an_error_before_the_content_is_tried_elsewhere(upstream):
    upstream.fault(error_in_stream=0, error={"message": "Overloaded.", "type": "server_error", "code": None})
    failure = await failure_of(channel(upstream.url), streamed())
    assert (failure.status, failure.verdict.kind, failure.error.status, failure.error.message) == (200, "elsewhere", 502, "Overloaded.")


async def test_an_error_after_the_content_is_an_event(upstream):
    upstream.fault(error_in_stream=2)
    async with opening(channel(upstream.url), streamed()) as opened:
        stream = await rest_of(opened)
    assert b'"error"' in stream
    assert b"[DONE]" not in stream


async def test_a_malformed_chunk_before_the_content_is_waited_out(upstream):
    upstream.fault(malformed_chunk=0)
    async with opening(channel(upstream.url), streamed()) as opened:
        assert text_of(await rest_of(opened)) == TEXT


async def test_a_cut_before_the_content_is_tried_elsewhere(upstream):
    upstream.fault(cut_after=0)
    assert (await failure_of(channel(upstream.url), streamed())).verdict.kind == "unreachable"


async def test_a_cut_after_the_content_is_not_an_end(upstream):
    upstream.fault(cut_after=3)
    async with opening(channel(upstream.url), streamed()) as opened:
        with pytest.raises(Broken):
            await rest_of(opened)


async def test_silence_after_the_content(upstream):
    upstream.fault(stall_after=2)
    async with opening(channel(upstream.url), streamed(), Timeouts(first=5.0, gap=0.3)) as opened:
        with pytest.raises(GapTimeout):
            await rest_of(opened)
    upstream.wait_for(lambda now: now.aborted == 1 and now.open == 0)


async def test_a_stream_left_early_is_closed_at_the_upstream(upstream):
    upstream.fault(stall_after=1)
    async with opening(channel(upstream.url), streamed()):
        assert upstream.open == 1
    upstream.wait_for(lambda now: now.aborted == 1 and now.open == 0)


async def test_a_tool_call_is_content(upstream):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    async with opening(channel(upstream.url), streamed(tools=[tool], tool_choice="required")) as opened:
        assert b'"weather"' in await rest_of(opened)


async def test_a_stream_without_a_content_type_is_a_stream(upstream):
    upstream.fault(content_type="")
    async with opening(channel(upstream.url), streamed()) as opened:
        assert text_of(await rest_of(opened)) == TEXT


async def test_the_last_event_may_lack_its_blank_line(upstream):
    event = b'data: {"choices":[{"index":0,"delta":{"content":"all"},"finish_reason":"stop"}]}'
    upstream.fault(body=event, ignores_stream=True, content_type="text/event-stream")
    async with opening(channel(upstream.url), streamed()) as opened:
        assert await rest_of(opened) == event + b"\n\n"


async def test_a_plain_answer_is_read_whole_and_its_bytes_are_kept(upstream):
    body = '{ "choices":[ {"message":{"content":"Grüße"}} ],"x_new":1.0e0,"usage":{"prompt_tokens":1,"completion_tokens":1}}'.encode()
    upstream.fault(body=body)
    async with opening(channel(upstream.url), ask_of()) as opened:
        assert opened.body == body
        assert opened.tail is not None
        assert opened.tail.text == "Grüße"
