"""However the network cut a stream into batches, its client gets the same bytes, in order, and success only after the end was asked for."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_app.attempt import Opened, Source
from channels_app.provider import Credential
from channels_app.registry import PROVIDERS
from gateway.stream import KEPT_BYTES, Pump, Tally
from outbound.transport import MemoryAnswer
from tests.gateway.events import DONE, PING, USAGE, content, event, finish, pumped, usage
from tests.gateway.known import upstream

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PART = st.one_of(
    TEXT.filter(bool).map(content),
    st.builds(content, TEXT.filter(bool), st.integers(0, 2)),
    st.integers(0, 2).map(finish),
    st.just(PING),
    st.just(usage()),
    st.builds(lambda text: content(text, usage=USAGE), TEXT),
    st.just(event(choices=[{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}])),
    st.just(event(choices=[{"index": 0, "delta": {"reasoning_content": "r"}, "finish_reason": None}])),
    st.just(b"data: {broken\n\n"),
    st.just(b'event: x\r\ndata: {"choices":[{"delta":{"content":"crlf"},"finish_reason":null}]}\r\n\r\n'),
)
STREAM = st.lists(PART, max_size=12).map(lambda parts: [*parts, finish(), DONE])


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


def cut(parts, places):
    batches: list[list[bytes]] = [[]]
    for number, part in enumerate(parts):
        batches[-1].append(part)
        if number in places:
            batches.append([])
    return [batch for batch in batches if batch]


@settings(deadline=None)
@given(STREAM, st.sets(st.integers(0, 12)), st.booleans())
def test_batches_make_no_difference(loop, parts, places, hide):
    whole = loop.run(pumped(parts, hide_usage=hide))
    in_batches = loop.run(pumped(*cut(parts, places), hide_usage=hide))
    assert in_batches.all == whole.all
    for run in (whole, in_batches):
        assert b"[DONE]" not in run.sent
        assert run.all.endswith(DONE)
        assert run.pump.complete
        assert run.pump.tally.text() == whole.pump.tally.text()


@settings(deadline=None)
@given(STREAM, st.booleans())
def test_nothing_is_lost_and_nothing_is_added(loop, parts, hide):
    run = loop.run(pumped(parts, hide_usage=hide))
    expected = [part for part in parts if part != b"data: {broken\n\n" and not (hide and part == usage())]
    comments = [part for part in expected if part == PING]  # these may overtake what is held
    assert run.all.replace(PING, b"") == b"".join(part for part in expected if part != PING)
    assert run.all.count(PING) == len(comments)


@settings(max_examples=60, deadline=None)
@given(STREAM, st.lists(st.integers(1, 400), max_size=40))
def test_bytes_cut_anywhere_give_the_same(loop, parts, lengths):
    """From the transport's reads on: inside a line, inside a UTF-8 sequence."""

    async def through(chunks):
        source = Source(upstream(1, "m"), Credential(1, "sk-up"), PROVIDERS["openai"], "m")
        opened = Opened(MemoryAnswer(200, {"content-type": "text/event-stream"}, chunks), False, source)
        sent = []

        async def write(data):
            sent.append(data)

        pump = Pump(opened, [], write, False)
        await pump.run()
        return b"".join(sent), pump.tail()

    whole = b"".join(parts)
    chunks, left = [], whole
    for length in lengths:
        chunks.append(left[:length])
        left = left[length:]
    chunks = [chunk for chunk in [*chunks, left] if chunk]
    sent, tail = loop.run(through(chunks))
    expected_sent, expected_tail = loop.run(through([whole]))
    assert sent + tail == expected_sent + expected_tail
    assert b"[DONE]" not in sent


def test_a_tally_is_folded_and_forgets_nothing():
    tally = Tally()
    piece = content("x" * 1000)
    for _ in range(3 * KEPT_BYTES // len(piece)):
        tally.add(piece)
        assert tally._size <= KEPT_BYTES
    assert tally.text() == "x" * 1000 * (3 * KEPT_BYTES // len(piece))
    assert tally.text() == tally.text()
