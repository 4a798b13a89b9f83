"""The transport for the traffic that is almost all there is: plain requests over HTTP/1.1, each on a connection that it has for itself.

A kept connection that breaks before the first byte of an answer (the upstream was just closing it) is replaced by a fresh one, once; a fresh one
never. The connections: outbound/http1_connection.py. Dialling: RFC 8305.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import aiohappyeyeballs

from outbound import transport
from outbound.guard import Guard
from outbound.http1_connection import Connection, Key
from outbound.transport import KEEP_ALIVE, NEVER, Broken, ConnectFailed, Request, Timeouts, TotalTimeout, seconds

SWEEP = 2.0  # seconds between looks for connections that were silent for too long
NAMES_KEPT = 10.0  # seconds that a resolved name is believed
EYEBALLS = 0.25  # seconds before the next address is dialled beside the last: RFC 8305 §5
Addresses = list[Any]
"""As getaddrinfo gives them."""


class Target(NamedTuple):
    """Where a URL leads, and the head of a request up to its headers but for the method."""

    key: Key
    line: bytes


class Http1Answer:
    """An Answer over a connection that it has for itself until its end."""

    __slots__ = ("_connection", "_owner", "headers", "status")

    def __init__(self, owner: "Http1Transport", connection: Connection) -> None:
        self.status = connection.status
        self.headers: Mapping[str, str] = connection.headers
        self._owner = owner
        self._connection: Connection | None = connection

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

    def _leave(self, connection: Connection) -> None:
        if self._connection is not None:
            self._connection = None
            self._owner.left(self)
            connection.leave()


class Http1Transport:
    """A Transport for requests without a proxy. To be used in one event loop; connections are kept by host, port and TLS."""

    def __init__(self, guard: Guard) -> None:
        """`guard` judges every address dialled."""
        self._guard = guard
        self._idle: dict[Key, deque[Connection]] = {}
        self._open: set[Http1Answer] = set()
        self._connections: set[Connection] = set()
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
        ends = self._now() + seconds(request.timeouts.total)
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

    async def _exchange(self, connection: Connection, request: Request, head: bytes, ends: float) -> Http1Answer:
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

    def _kept(self, key: Key) -> Connection | None:
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

    def keep(self, connection: Connection) -> None:
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

    def forget(self, connection: Connection) -> None:
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

    async def _connect(self, target: Target, timeouts: Timeouts, ends: float) -> Connection:
        loop = asyncio.get_running_loop()
        connect_ends = loop.time() + seconds(timeouts.connect)
        deadline = min(connect_ends, ends)
        try:
            async with asyncio.timeout_at(None if deadline == NEVER else deadline):
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

    async def _dial(self, target: Target) -> Connection:
        host, port, tls = target.key
        addresses = await self._resolve(host, port)
        context = await self._context() if tls else None
        loop = asyncio.get_running_loop()
        chosen = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=EYEBALLS, interleave=1, socket_factory=self._socket)
        factory = partial(Connection, self, target.key)
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
