"""One HTTP/1.1 connection to an upstream, with httptools as its parser: one exchange at a time, and what arrives is kept for its reader.

A connection is used again only if its answer was complete, framed, and followed by nothing, and the request was written to its end; so what an
upstream sends unasked can never pass for the next answer. It has one timer: exchanges only move its deadline, and when it fires too early it is
set again, so that a request costs no timer. Framing: RFC 9112; what the parser refuses: https://github.com/nodejs/llhttp.
"""

import asyncio
from typing import Protocol

import httptools

from outbound.transport import NEVER, Broken, FirstByteTimeout, GapTimeout, Request, Timeouts, TotalTimeout, TransportError, seconds

HEAD_LIMIT = 64 * 1024
"""Bytes of heads, trailers or chunk frames that may come without a byte of a body between them."""

HIGH_WATER = 256 * 1024  # bytes kept for a reader before the socket is left to fill up
SMALL = 16 * 1024  # bytes of a body that are sent in one piece with the head
_WITHOUT_BODY = frozenset({204, 304})

Key = tuple[str, int, bool]
"""Host, port and whether TLS: connections with the same key are the same to a request."""


class Owner(Protocol):
    """Who has the connections."""

    def keep(self, connection: "Connection") -> None:
        """It is free again."""
        ...

    def forget(self, connection: "Connection") -> None:
        """It is gone."""
        ...


class Connection(asyncio.Protocol):
    """One connection, and the exchange that is under way on it."""

    __slots__ = (
        "_deadline", "_loop", "_parser", "_paused", "_silent", "_timer", "_timer_at", "active", "begun", "complete", "ends", "failure",
        "first_ends", "framed", "headers", "idle_since", "informational", "kept", "key", "lost", "owner", "pieces", "received", "size",
        "status", "timeouts", "transport", "unasked", "waiter",
    )  # fmt: skip

    transport: asyncio.Transport
    active: bool
    begun: bool
    complete: bool
    failure: TransportError | None
    framed: bool
    headers: dict[str, str]
    informational: bool
    kept: bool
    pieces: list[bytes]
    received: bool
    size: int
    status: int
    timeouts: Timeouts

    def __init__(self, owner: Owner, key: Key) -> None:
        self.owner = owner
        self.key = key
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = NEVER
        self._paused = False
        self.active = self.lost = self.unasked = False
        self.waiter: asyncio.Future[None] | None = None
        self.idle_since = 0.0

    # --- asyncio's side ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # of a stream socket

    def data_received(self, data: bytes) -> None:
        if not self.active or self.complete:
            self.unasked = True
            self.drop()
            return
        self.received = True
        self._silent += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.fail(Broken("The upstream changes to another protocol."))
            return
        except httptools.HttpParserError as error:
            if not self.complete:  # else it is what follows an answer that is whole
                self.fail(Broken(f"The answer is not HTTP: {error}"))
                return
            self.unasked = True
        if self._silent > HEAD_LIMIT and not self.complete:
            self.fail(Broken(f"The answer has more than {HEAD_LIMIT} bytes of headers."))
            return
        if self.size > HIGH_WATER and not self._paused and not self.complete:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool | None:
        return None  # closes; connection_lost follows

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True
        del self._parser  # it knows this object: two that hold each other would wait for the garbage collector
        if self._timer is not None:
            self._timer.cancel()
        self.owner.forget(self)
        if self.active and not self.complete and self.failure is None:
            if error is None and self.status and not self.framed:
                self.complete = True  # a body without a length ends with its connection
                self._wake()
            else:
                self.fail(Broken(f"The upstream closed the connection{f': {error}' if error else ''}."))

    # --- the parser's side ---

    def on_message_begin(self) -> None:
        if self.complete:
            self.unasked = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.complete and not self.status:  # else a trailer, which nobody needs
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.informational = True
            return
        self.status = status
        headers = self.headers
        self.framed = "content-length" in headers or status in _WITHOUT_BODY or headers.get("transfer-encoding", "").lower().endswith("chunked")
        self.kept = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.pieces.append(data)
            self.size += len(data)
            self._silent = 0

    def on_message_complete(self) -> None:
        if self.informational:
            self.informational = False
            self.headers = {}
        else:
            self.complete = True

    # --- the exchange ---

    def begin(self, timeouts: Timeouts, ends: float) -> None:
        """A new exchange; its first byte is waited for from now on."""
        self.active = True
        self.begun = self.complete = self.informational = self.received = self.framed = self.kept = False
        self.status = self.size = self._silent = 0
        self.headers = {}
        self.pieces = []
        self.failure = None
        self.timeouts = timeouts
        self.ends = ends
        self.first_ends = self._loop.time() + seconds(timeouts.first)

    def send(self, head: bytes, request: Request) -> None:
        """Writes a request out. Raises Broken."""
        body = request.body
        try:
            if not body and request.method == "GET":
                self.transport.write(b"%s\r\n" % head)
            elif len(body) < SMALL:
                self.transport.write(b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body))
            else:
                self.transport.write(b"%sContent-Length: %d\r\n\r\n" % (head, len(body)))
                self.transport.write(body)
        except (OSError, RuntimeError) as error:  # uvloop's way to say that it is closed
            raise Broken(f"The connection was lost: {error}") from error

    async def wait(self) -> None:
        """Until something arrives or fails, or the time for it is over."""
        if self.lost or self.failure is not None:
            return
        limit = self._loop.time() + seconds(self.timeouts.gap) if self.begun else self.first_ends
        self._deadline = min(limit, self.ends)
        if self._deadline < self._timer_at:
            self._set_timer()
        self.waiter = self._loop.create_future()
        try:
            await self.waiter
        finally:
            self.waiter = None

    def take(self) -> bytes:
        """What has arrived, b"" for nothing."""
        pieces = self.pieces
        if not pieces:
            return b""
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.pieces = []
        self.size = 0
        self.begun = True
        if self._paused:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        return data

    def fail(self, error: TransportError) -> None:
        """The exchange is over without a whole answer; what has come of it can still be read."""
        if self.active and self.failure is None:
            self.failure = error
        if not self.lost:
            self.transport.abort()
        self._wake()

    def drop(self) -> None:
        """Nobody reads any more: the connection goes."""
        self.active = False
        if not self.lost:
            self.transport.abort()
        self.owner.forget(self)
        self._wake()

    def leave(self) -> None:
        """The answer was read or is not wanted; the connection is kept where that is safe."""
        if self.active and self.complete and self.kept and not self.unasked and not self.lost and not self.transport.get_write_buffer_size():
            self.active = False
            self.pieces = []
            self.owner.keep(self)
        else:
            self.drop()

    def _wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._deadline
        self._timer = self._loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        """The timer fired: the wait is over, or its deadline has moved on."""
        self._timer, self._timer_at = None, NEVER
        if self.waiter is None or self.waiter.done():
            return  # nobody waits; whoever does next sets it
        now = self._loop.time()
        if now < self._deadline:
            self._set_timer()
        elif now >= self.ends:
            self.fail(TotalTimeout(f"The answer took more than {self.timeouts.total} s in all."))
        elif self.begun:
            self.fail(GapTimeout(f"Nothing came for {self.timeouts.gap} s."))
        else:
            self.fail(FirstByteTimeout(f"No byte of a body within {self.timeouts.first} s."))
