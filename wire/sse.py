"""Server-sent events as bytes: split what an upstream sends into whole events without changing a byte of them.

A relay must forward events exactly as they came, whatever way the network cut them, and must not wait longer than it has to. So the
splitter works on bytes (a cut inside a UTF-8 sequence does not matter), keeps every event's own line ends, and takes linear time however
finely the input is split.

Wire facts: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation. A line ends with LF, CRLF or CR;
an empty line ends an event.
"""

import re

COMMENT_PING = b": ping\n\n"
"""A comment that every client ignores; it keeps proxies from closing a silent connection."""

DEFAULT_LIMIT = 16 * 1024 * 1024

# Two line ends in a row. A CR at the end of a CRLF pair is never taken alone, and a lone CR after LF or CRLF needs a look at the next
# byte, which may be its LF. After a first CR the second one ends the event at once: streams that use bare CR would else always be one
# event late.
_END = re.compile(rb"\r\r|(?>\r\n|\n)(?:\r\n|\n|\r(?=[^\n]))")
_LONGEST_END = 4
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(ValueError):
    """An event grew over the splitter's limit. The stream cannot be trusted any more: close it."""


class Splitter:
    """Cut a stream of bytes into whole events; what was fed equals the events returned plus `rest()`, joined."""

    def __init__(self, limit: int = DEFAULT_LIMIT) -> None:
        """`limit`: the largest event accepted, in bytes."""
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes, return the events they complete (each with its blank line). Raises EventTooLarge."""
        if not self._buffer and data.find(b"\r") < 0:
            return self._feed_plain(data)
        buffer = self._buffer
        buffer += data
        events: list[bytes] = []
        start = 0
        for match in _END.finditer(buffer, self._scanned):
            events.append(bytes(buffer[start : match.end()]))
            start = match.end()
        if start:
            del buffer[:start]
        # An end may have begun in the last bytes; starting inside a CRLF finds the same place, because its LF alone is a line end too.
        self._scanned = max(0, len(buffer) - (_LONGEST_END - 1))
        self._check(events)
        return events

    def rest(self) -> bytes:
        """The bytes of the unfinished event (b"" when the stream ended with a blank line)."""
        return bytes(self._buffer)

    def _feed_plain(self, data: bytes) -> list[bytes]:
        """The usual case: nothing is waiting and lines end with LF.

        A read that is exactly one event is returned as it is, without a copy.
        """
        end = data.find(b"\n\n") + 2
        if end == len(data) and end > 1:
            events = [data]
        else:
            parts = data.split(b"\n\n")
            self._buffer += parts.pop()
            self._scanned = max(0, len(self._buffer) - (_LONGEST_END - 1))
            events = [part + b"\n\n" for part in parts]
        self._check(events)
        return events

    def _check(self, events: list[bytes]) -> None:
        if len(self._buffer) > self._limit or (events and max(map(len, events)) > self._limit):
            raise EventTooLarge(f"An event is larger than {self._limit} bytes.")


def data_of(event: bytes) -> bytes | None:
    """The event's data: its `data` lines joined with LF; None where it has none (comments, pings)."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and event.endswith(b"\n\n") and event.find(b"\r") < 0:
        return event[6:-2]
    lines = _values(event, b"data")
    return b"\n".join(lines) if lines else None


def event_name(event: bytes) -> bytes:
    """The event's name: the value of its last `event` line, b"" where it has none."""
    names = _values(event, b"event")
    return names[-1] if names else b""


def encode(data: bytes, event: bytes = b"") -> bytes:
    """One event with this data, and a name if given.

    Line ends inside the data become further `data` lines. Raises ValueError for a name of several lines.
    """
    if b"\n" in event or b"\r" in event:
        raise ValueError("An event's name must be one line.")
    head = b"event: " + event + b"\n" if event else b""
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\ndata: ")
    return head + b"data: " + data + b"\n\n"


def _values(event: bytes, field: bytes) -> list[bytes]:
    found: list[bytes] = []
    for line in event.removeprefix(_BOM).splitlines():
        name, _, value = line.partition(b":")
        if name == field:
            found.append(value.removeprefix(b" "))
    return found
