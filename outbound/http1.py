"""The transport for the traffic that is almost all there is: a plain request over HTTP/1.1, with httptools as the parser, in one protocol class.

A connection carries one exchange at a time. What arrives is kept for its reader, up to a bound at which reading from the socket pauses. A
connection is used again only if its answer was complete, framed, and followed by nothing, and the request was written to its end; so what an
upstream sends unasked can never pass for the next answer. A kept connection that breaks before the first byte of an answer (the upstream was
just closing it) is replaced by a fresh one, once; a fresh one never.

Each connection has one timer. Exchanges only move its deadline; when it fires too early it is set again, so that a request costs no timer.

Framing: RFC 9112; what the parser refuses: https://github.com/nodejs/llhttp. Dialling: RFC 8305.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohappyeyeballs
import httptools

from outbound import transport
from outbound.guard import Guard
from outbound.transport import Broken, ConnectFailed, FirstByteTimeout, GapTimeout, Request, Timeouts, TotalTimeout, TransportError

HEAD_LIMIT = 64 * 1024
"""Bytes of heads, trailers or chunk frames that may come without a byte of a body between them."""

HIGH_WATER = 256 * 1024  # bytes kept for a reader before the socket is left to fill up
KEEP_ALIVE = 4.5  # seconds: below what common servers keep a silent connection (uvicorn and Node: 5 s)
SWEEP = 2.0  # seconds between looks for connections that were silent for too long
NAMES_KEPT = 10.0  # seconds that a resolved name is believed
EYEBALLS = 0.25  # seconds before the next address is dialled beside the last: RFC 8305 §5
SMALL = 16 * 1024  # bytes of a body that are sent in one piece with the head
_NEVER = float("inf")
_WITHOUT_BODY = frozenset({204, 304})

Addresses = list[Any]
"""As getaddrinfo gives them."""
Key = tuple[str, int, bool]
"""Host, port and whether TLS: connections with the same key are the same to a request."""


class Target(NamedTuple):
    """Where a URL leads, and the head of a request up to its headers but for the method."""

    key: Key
    line: bytes


class _Connection(asyncio.Protocol):
    """One connection, and the exchange that is under way on it."""

    __slots__ = (
        "_deadline",
        "_loop",
        "_parser",
        "_paused",
        "_silent",
        "_timer",
        "_timer_at",
        "active",
        "begun",
        "complete",
        "ends",
        "failure",
        "first_ends",
        "framed",
        "headers",
        "idle_since",
        "informational",
        "kept",
        "key",
        "lost",
        "owner",
        "pieces",
        "received",
        "size",
        "status",
        "timeouts",
        "transport",
        "unasked",
        "waiter",
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

    def __init__(self, owner: "Http1Transport", key: Key) -> None:
        self.owner = owner
        self.key = key
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = self._deadline = _NEVER
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
        self.first_ends = self._loop.time() + _seconds(timeouts.first)

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
        limit = self._loop.time() + _seconds(self.timeouts.gap) if self.begun else self.first_ends
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
        self._timer, self._timer_at = None, _NEVER
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


class Http1Answer:
    """An Answer over a connection that it has for itself until its end."""

    __slots__ = ("_connection", "_failure", "_owner", "headers", "status")

    def __init__(self, owner: "Http1Transport", connection: _Connection) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self._owner = owner
        self._connection: _Connection | None = connection
        self._failure: TransportError | None = None

    async def read(self) -> bytes:
        """See `Answer.read`."""
        connection = self._connection
        while connection is not None:
            if data := connection.take():
                return data
            if connection.complete:
                self._leave(connection)
            elif connection.failure is not None:
                self._leave(connection)
                raise connection.failure
            elif connection.lost or not connection.active:
                self._leave(connection)
            else:
                try:
                    await connection.wait()
                except BaseException:
                    self._leave(connection)
                    raise
            connection = self._connection
        return b""

    async def read_all(self, limit: int) -> bytes:
        """See `Answer.read_all`."""
        connection = self._connection
        if connection is not None and connection.complete and connection.size <= limit:
            data = connection.take()
            self._leave(connection)
            return data
        return await transport.read_all(self, limit)

    async def close(self) -> None:
        """See `Answer.close`."""
        if self._connection is not None:
            self._leave(self._connection)

    def _leave(self, connection: _Connection) -> None:
        if self._connection is not None:
            self._connection = None
            self._owner.left(self)
            connection.leave()


class Http1Transport:
    """A Transport for requests without a proxy. To be used in one event loop; connections are kept by host, port and TLS."""

    def __init__(self, guard: Guard) -> None:
        """`guard` judges every address dialled."""
        self._guard = guard
        self._idle: dict[Key, deque[_Connection]] = {}
        self._open: set[Http1Answer] = set()
        self._connections: set[_Connection] = set()
        self._names: dict[tuple[str, int], tuple[float, Addresses]] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def _now(self) -> float:
        if self._loop is None:  # the first request's: there may be none yet when a transport is made
            self._loop = asyncio.get_running_loop()
        return self._loop.time()

    @property
    def open_connections(self) -> int:
        """Answers not yet closed."""
        return len(self._open)

    async def open(self, request: Request) -> Http1Answer:
        """See `Transport.open`. A request for a proxy raises ConnectFailed: it is another transport's."""
        if self._is_closed:
            raise ConnectFailed("The transport is closed.")
        if request.proxy is not None:
            raise ConnectFailed("This transport knows no proxies.")
        self._guard.check_url(request.url)
        target = target_of(request.url)
        head = b"%s %s%s" % (request.method.encode(), target.line, _headers(request.headers))
        ends = self._now() + _seconds(request.timeouts.total)
        kept = self._kept(target.key)
        if kept is not None:
            try:
                return await self._exchange(kept, request, head, ends)
            except Broken:
                if kept.received:
                    raise  # an answer had begun
        return await self._exchange(await self._connect(target, request.timeouts, ends), request, head, ends)

    async def close(self) -> None:
        """Drop all connections and refuse further requests."""
        self._is_closed = True
        for answer in list(self._open):
            await answer.close()
        for connection in list(self._connections):
            connection.drop()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def _exchange(self, connection: _Connection, request: Request, head: bytes, ends: float) -> Http1Answer:
        connection.begin(request.timeouts, ends)
        try:
            connection.send(head, request)
            while not connection.status:
                if connection.failure is not None:
                    raise connection.failure
                if connection.lost or not connection.active:
                    raise Broken("The connection was lost.")
                await connection.wait()
        except BaseException:
            connection.drop()
            raise
        answer = Http1Answer(self, connection)
        self._open.add(answer)
        return answer

    def left(self, answer: Http1Answer) -> None:
        """An answer reports its end."""
        self._open.discard(answer)

    # --- connections ---

    def _kept(self, key: Key) -> _Connection | None:
        idle = self._idle.get(key)
        if not idle:
            return None
        oldest = self._now() - KEEP_ALIVE
        while idle:
            connection = idle.pop()  # the one used last: the others may go
            if connection.idle_since > oldest and not connection.lost and not connection.transport.is_closing():
                return connection
            connection.drop()
        return None

    def keep(self, connection: _Connection) -> None:
        """A connection is free again."""
        if self._is_closed:
            connection.drop()
            return
        connection.idle_since = self._now()
        idle = self._idle.get(connection.key)
        if idle is None:
            idle = self._idle[connection.key] = deque()
        idle.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP, self._sweep)

    def forget(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if not connection.active and (idle := self._idle.get(connection.key)) is not None and connection in idle:
            idle.remove(connection)

    def _sweep(self) -> None:
        self._sweeper = None
        loop = asyncio.get_running_loop()
        for key, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= loop.time() - KEEP_ALIVE:
                idle.popleft().drop()
            if not idle:
                del self._idle[key]
        if self._idle:
            self._sweeper = loop.call_later(SWEEP, self._sweep)

    async def _connect(self, target: Target, timeouts: Timeouts, ends: float) -> _Connection:
        loop = asyncio.get_running_loop()
        connect_ends = loop.time() + _seconds(timeouts.connect)
        deadline = min(connect_ends, ends)
        try:
            async with asyncio.timeout_at(None if deadline == _NEVER else deadline):
                connection = await self._dial(target)
        except TimeoutError:
            if deadline == ends:
                raise TotalTimeout(f"No answer within {timeouts.total} s in all.") from None
            raise ConnectFailed(f"No connection within {timeouts.connect} s.") from None
        except (OSError, ValueError, UnicodeError) as error:  # ssl.SSLError is an OSError
            raise ConnectFailed(f"{type(error).__name__}: {error}") from error
        if self._is_closed:
            connection.transport.abort()
            raise ConnectFailed("The transport is closed.")
        self._connections.add(connection)
        return connection

    async def _dial(self, target: Target) -> _Connection:
        host, port, tls = target.key
        addresses = await self._resolve(host, port)
        context = await self._context() if tls else None
        loop = asyncio.get_running_loop()
        chosen = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=EYEBALLS, interleave=1, socket_factory=self._socket)
        factory: Callable[[], _Connection] = lambda: _Connection(self, target.key)  # noqa: E731  create_connection wants a factory
        try:
            _transport, connection = await loop.create_connection(
                factory, sock=chosen, ssl=context, server_hostname=host.rstrip(".") if tls else None
            )
        except BaseException:
            chosen.close()
            raise
        return connection

    async def _resolve(self, host: str, port: int) -> Addresses:
        """The addresses of a host, if the guard lets all of them pass. Raises AddressRefused, OSError."""
        loop = asyncio.get_running_loop()
        until, found = self._names.get((host, port), (0.0, []))
        if until <= loop.time():
            found = await resolve(host, port)
            if len(self._names) > 1000:
                self._names.clear()
            self._names[host, port] = (loop.time() + NAMES_KEPT, found)
        self._guard.check_all(host, [str(entry[4][0]) for entry in found])
        return found

    def _socket(self, address: Any) -> socket.socket:
        # The last look, at the address that is dialled.
        self._guard.check(str(address[4][0]))
        return socket.socket(*address[:3])

    async def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = await asyncio.to_thread(ssl.create_default_context)  # reads all certificates of the system: tens of milliseconds
            context.set_alpn_protocols(["http/1.1"])
            self._tls = context
        return self._tls


async def resolve(host: str, port: int) -> Addresses:
    """What the system's resolver says. Raises OSError."""
    return list(await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))


@lru_cache(maxsize=4096)  # channels' addresses come again with every request
def target_of(url: str) -> Target:
    """Where a URL that the guard has seen leads. Raises ConnectFailed where it cannot be asked for."""
    try:
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode()
    except (ValueError, UnicodeError) as error:
        raise ConnectFailed(f"This is no address: {error}") from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if any(not "!" <= character <= "~" for character in path + host) or any(character <= " " for character in url):  # urlsplit drops some
        raise ConnectFailed("The address has characters that do not belong there.")
    shown = f"[{host}]" if ":" in host else host
    name = shown if parts.port is None else f"{shown}:{parts.port}"
    return Target((host, port, tls), f"{path} HTTP/1.1\r\nHost: {name}\r\n".encode())


@lru_cache(maxsize=4096)
def _headers(headers: tuple[tuple[str, str], ...]) -> bytes:
    """The lines of the headers with those that every request has. Raises ConnectFailed for one that would end its line."""
    names = {name.lower() for name, _ in headers}
    lines = [f"{name}: {value}" for name, value in headers]
    lines += [line for name, line in (("accept", "Accept: */*"), ("accept-encoding", "Accept-Encoding: identity")) if name not in names]
    if any(not line.isprintable() and not line.replace("\t", " ").isprintable() for line in lines):
        raise ConnectFailed("A header has characters that do not belong there.")
    return "".join(f"{line}\r\n" for line in lines).encode()


def _seconds(limit: float | None) -> float:
    return _NEVER if limit is None else limit
