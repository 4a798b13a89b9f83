"""Whole events come out, byte for byte, however the network cut the stream."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.sse import EventTooLarge, Splitter

STREAM = (
    b"\xef\xbb\xbfdata: {\"a\":\"\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\"}\n\n: ping\r\n\r\nevent: x\rdata: 1\r\rdata: 2\r\n\ndata: 3\n\r\n"
    b"data: a\ndata: b\n\n\n\ndata: [DONE]\n\ndata: cut"
)  # fmt: skip

pieces_of_streams = st.lists(
    st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b"data: x", b": c", b"\xe4\xbd", b"\xa0", b""]), max_size=30
)


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    splitter = Splitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events, splitter.rest()


def fields_dispatched(stream: bytes) -> list[list[bytes]]:
    """The reference: the standard's algorithm, line by line; events without any line are none."""
    lines = re.split(rb"\r\n|\n|\r", stream)[:-1]
    events: list[list[bytes]] = [[]]
    for line in lines:
        if line:
            events[-1].append(line)
        else:
            events.append([])
    return [event for event in events[:-1] if event]


@pytest.mark.parametrize("at", range(len(STREAM) + 1))
def test_a_cut_at_every_byte_gives_the_same_events(at: int) -> None:
    assert split([STREAM[:at], STREAM[at:]]) == split([STREAM])


def test_byte_by_byte_gives_the_same_events() -> None:
    assert split([STREAM[i : i + 1] for i in range(len(STREAM))]) == split([STREAM])


def test_every_kind_of_blank_line_ends_an_event() -> None:
    events, rest = split([STREAM])

    assert events == [
        b"\xef\xbb\xbfdata: {\"a\":\"\xe4\xbd\xa0\xe5\xa5\xbd \xf0\x9f\x98\x80\"}\n\n",
        b": ping\r\n\r\n",
        b"event: x\rdata: 1\r\r",
        b"data: 2\r\n\n",
        b"data: 3\n\r\n",
        b"data: a\ndata: b\n\n",
        b"\n\n",
        b"data: [DONE]\n\n",
    ]  # fmt: skip
    assert rest == b"data: cut"


@given(pieces=pieces_of_streams)
def test_no_byte_is_lost_or_changed(pieces: list[bytes]) -> None:
    events, rest = split(pieces)

    assert b"".join(events) + rest == b"".join(pieces)


@given(pieces=pieces_of_streams)
def test_the_cuts_do_not_matter(pieces: list[bytes]) -> None:
    assert split(pieces) == split([b"".join(pieces)])


@given(pieces=pieces_of_streams)
def test_events_are_those_of_the_standard(pieces: list[bytes]) -> None:
    stream = b"".join([*pieces, b"end"])

    events, _ = split([stream])

    found = [[line for line in re.split(rb"\r\n|\n|\r", event) if line] for event in events]
    assert [lines for lines in found if lines] == fields_dispatched(stream)


def test_an_event_with_bare_carriage_returns_is_not_late() -> None:
    assert Splitter().feed(b"data: x\r\r") == [b"data: x\r\r"]


def test_a_read_that_is_one_event_is_not_copied() -> None:
    event = b"data: {}\n\n"

    assert Splitter().feed(event)[0] is event


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
def test_an_event_over_the_limit_is_refused(end: bytes) -> None:
    with pytest.raises(EventTooLarge):
        Splitter(limit=100).feed(b"data: " + b"x" * 100 + end)


def test_an_endless_event_is_refused_before_it_fills_the_memory() -> None:
    splitter = Splitter(limit=1000)

    for _ in range(100):  # exactly the limit
        assert splitter.feed(b"data: 789\n") == []

    with pytest.raises(EventTooLarge):
        splitter.feed(b"d")


def test_events_within_the_limit_pass_however_many() -> None:
    assert len(Splitter(limit=20).feed(b"data: 1\n\n" * 1000)) == 1000


@pytest.mark.parametrize("line", [b"\r", b"x"])
def test_time_is_linear_in_the_input(line: bytes) -> None:
    splitter = Splitter()
    began = time.perf_counter()

    for _ in range(400_000):  # one event of 1.6 MB, four bytes at a time; quadratic code would take minutes
        splitter.feed(b"dat" + line)

    assert time.perf_counter() - began < 20
