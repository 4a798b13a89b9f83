"""A stream from the first content to its end: every event forwarded as it arrives, the end held back until its charge is committed.

The latest event that could be terminal is held; if content follows instead it is released and the hold moves on (docs/ledger.md §4). To count
where no usage comes, events are kept by reference up to 64 KB and then folded into text: nothing is parsed in the normal case.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Raw

from outbound.transport import TransportError
from wire import sse
from wire.peek import maybe_terminal, read_chunk

DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"
KEPT_BYTES = 64 * 1024
USAGE_WAIT = 5.0  # seconds that usage may come after the end of the content
AFTER_DONE = 1.0  # seconds for the connection's own end, so that it can be used again


class Events(Protocol):
    """What `attempt` opened: whole events as they arrive."""

    async def next(self) -> list[bytes]:
        """The events that have come since, at least one; none at the end. Raises TransportError."""
        ...


class Tally:
    """What a stream has produced, for the case that its usage never comes."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []
        self._size = 0
        self._text: list[str] = []

    def add(self, event: bytes) -> None:
        """Keeps an event by reference."""
        self._kept.append(event)
        self._size += len(event)
        if self._size > KEPT_BYTES:
            self._fold()

    def _fold(self) -> None:
        for event in self._kept:
            data = sse.data_of(event)
            chunk = read_chunk(data) if data else None
            if chunk is not None and chunk.text:
                self._text.append(chunk.text)
        self._kept.clear()
        self._size = 0

    def text(self) -> str:
        """All text, reasoning and tool calls so far."""
        self._fold()
        return "".join(self._text)


class Pump:
    """Moves events of one stream to its client, and watches its tail.

    `hide_usage`: we asked for the usage and the client did not; it must not see it. `several`: more than one choice was asked for, and the
    end of one says nothing of the others.
    """

    def __init__(
        self, events: Events, first: list[bytes], write: Callable[[bytes], Awaitable[None]], hide_usage: bool, several: bool = False
    ) -> None:
        self._events = events
        self._first = first  # what was read while the content was waited for
        self._write = write
        self._hide_usage = hide_usage
        self._several = several
        self._held: list[bytes] = []
        self.tally = Tally()
        self.usage: Raw | None = None
        self.error: bytes | None = None  # the data of an error event of the upstream
        self.finished = False  # a finish reason was seen, and no content after it
        self.done = False  # [DONE] was seen
        self.malformed = 0

    async def run(self) -> None:
        """Forwards until the upstream ends, fails, or everything due after the content has come. Raises TransportError where it breaks off."""
        while batch := await self._next():
            out = self._pass(batch)
            if out:
                await self._write(out)
            if self.done or self.error is not None:
                return

    async def drain(self) -> None:
        """Reads on after the client has left, for the usage; nothing is written. Raises TransportError where the upstream breaks off."""
        while not self.done and self.error is None and (batch := await self._next()):
            self._pass(batch)

    async def _next(self) -> list[bytes]:
        if self._first:
            first, self._first = self._first, []
            return first
        if not self.finished or self._several:
            try:
                return await self._events.next()
            except TransportError:
                self.finished = False  # another choice may have been cut
                raise
        try:
            async with asyncio.timeout(USAGE_WAIT):
                return await self._events.next()
        except (TimeoutError, TransportError):
            return []  # the answer is whole; only its usage is missing

    def _pass(self, batch: list[bytes]) -> bytes:
        """What of these events goes out now."""
        out: list[bytes] = []
        for event in batch:
            if self._held or maybe_terminal(event) or event.find(DONE) >= 0:
                self._look(event, out)
            else:
                out.append(event)
                self.tally.add(event)
            if self.done or self.error is not None:
                break
        return b"".join(out) if len(out) != 1 else out[0]

    def _look(self, event: bytes, out: list[bytes]) -> None:
        data = sse.data_of(event)
        if data is None:  # a comment passes, also between the end of the content and the end of the stream
            out.append(event)
            return
        before, _, last = data.strip().rpartition(b"\n")
        if last == DONE:
            if before:  # an upstream that forgot the blank line
                self._look(sse.encode(before), out)
            self.done = True
            return
        chunk = read_chunk(data)
        if chunk is None:
            self.malformed += 1  # clients choke on what is not JSON: it ends here
            return
        if chunk.error is not None:
            self.error = data
            return
        if chunk.usage is not None:
            self.usage = chunk.usage
            if self._hide_usage and not chunk.choices:
                return
        self.tally.add(event)
        if chunk.finish:
            self.finished = True
            self._held.append(event)
        elif not chunk.content and (self.finished or chunk.usage is not None):
            self._held.append(event)
        else:
            self._release(out)
            out.append(event)

    def _release(self, out: list[bytes]) -> None:
        out += self._held
        self._held.clear()
        self.finished = False

    def tail(self) -> bytes:
        """What was held, with the sign of success: to be sent once the charge is committed."""
        return b"".join([*self._held, DONE_EVENT])

    @property
    def complete(self) -> bool:
        """The upstream said everything that it had to say."""
        return self.error is None and (self.done or self.finished)
