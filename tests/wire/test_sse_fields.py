"""What is inside an event, and events of our own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.sse import COMMENT_PING, Splitter, data_of, encode, event_name


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b'data: {"a":1}\n\n', b'{"a":1}'),
        (b'data:{"a":1}\r\n\r\n', b'{"a":1}'),
        (b"data: [DONE]\r\r", b"[DONE]"),
        (b"data:  two spaces\n\n", b" two spaces"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data: a\rdata: b\n\n", b"a\nb"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b"\ndata: x\n\n", b"x"),
        (b"event: ping\ndata: x: y\nid: 7\n\n", b"x: y"),
        (b": ping\n\n", None),
        (b"event: ping\n\n", None),
        (b"database: x\n\n", None),
        (b"\n\n", None),
        (b"", None),
    ],
)
def test_data_of(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data


@pytest.mark.parametrize(
    ("event", "name"),
    [(b"event: message_stop\ndata: {}\n\n", b"message_stop"), (b"event:a\revent:b\r\r", b"b"), (b"data: {}\n\n", b""), (b": event: x\n\n", b"")],
)
def test_event_name(event: bytes, name: bytes) -> None:
    assert event_name(event) == name


def test_a_ping_is_a_whole_event_without_data() -> None:
    assert Splitter().feed(COMMENT_PING) == [COMMENT_PING]
    assert data_of(COMMENT_PING) is None


def test_an_encoded_event_reads_back() -> None:
    assert encode(b'{"a":1}') == b'data: {"a":1}\n\n'
    assert encode(b"{}", b"message_stop") == b"event: message_stop\ndata: {}\n\n"


@given(data=st.lists(st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b" ", b"data: ", b"\xe4\xbd\xa0"])).map(b"".join))
def test_data_cannot_break_out_of_its_event(data: bytes) -> None:
    events = Splitter().feed(encode(data, b"name"))

    assert len(events) == 1
    assert event_name(events[0]) == b"name"
    assert data_of(events[0]) == data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


@pytest.mark.parametrize("name", [b"a\nb", b"a\rdata: x"])
def test_a_name_of_several_lines_is_refused(name: bytes) -> None:
    with pytest.raises(ValueError, match="one line"):
        encode(b"{}", name)
