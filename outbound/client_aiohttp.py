"""The transport on aiohttp: the relay's client for upstreams behind a proxy, and for channels that ask for it.

Unlike outbound/http1.py it takes what an upstream sends unasked on a kept connection for the next answer of that upstream.

aiohttp's own timeouts cannot tell the first byte from a gap, and a timer a read is dear in a stream of thousands of chunks. So each
answer has one watchdog: reads only move its deadline, and the timer, when it fires, looks whether the deadline has moved on.

Behaviour relied on: https://docs.aiohttp.org/en/stable/client_advanced.html and
https://docs.aiohttp.org/en/stable/client_reference.html#connectors
"""

import asyncio
import io
import socket
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from outbound import transport
from outbound.guard import Guard
from outbound.transport import (
    KEEP_ALIVE,
    NEVER,
    Broken,
    ConnectFailed,
    FirstByteTimeout,
    GapTimeout,
    Request,
    Timeouts,
    TotalTimeout,
    TransportError,
    seconds,
)

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.tracing import Trace

_LARGE_BODY = 1 << 20  # from here on aiohttp wants a file, and writes it piece by piece

_opening: ContextVar["_Opening | None"] = ContextVar("opening", default=None)


class _Resolver(AbstractResolver):
    """Name resolution that returns addresses only if the guard lets all of them pass."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        self._guard.check_name(host)
        found = await self._inner.resolve(host, port, family)
        self._guard.check_all(host, [entry["host"] for entry in found])
        return found

    async def close(self) -> None:
        await self._inner.close()


class _Connector(aiohttp.TCPConnector):
    """A pool without limits that dials what the guard allows, and tells the request that is being opened when its connection stands."""

    def __init__(self, guard: Guard) -> None:
        def guarded_socket(address: "AddrInfoType") -> socket.socket:
            # The last look, at the address that is dialled: hosts written as addresses do not pass the resolver.
            guard.check(str(address[4][0]))
            return socket.socket(*address[:3])

        super().__init__(limit=0, resolver=_Resolver(guard), socket_factory=guarded_socket, keepalive_timeout=KEEP_ALIVE)

    async def connect(
        self,
        req: "ClientRequest",
        traces: "list[Trace]",
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> "Connection":
        connection = await super().connect(req, traces, timeout)
        opening = _opening.get()
        if opening is not None:
            opening.connected()
        return connection


class _Opening:
    """The phase from `open` to the answer's head: which timeout is running, and until when."""

    def __init__(self, timeouts: Timeouts) -> None:
        loop = asyncio.get_running_loop()
        self._time = loop.time
        self.started = self._time()
        self.is_connected = False
        self.timeouts = timeouts
        self.ends = self.started + seconds(timeouts.total)
        self.first_ends = NEVER
        self.scope = asyncio.timeout_at(self._next(self.started + seconds(timeouts.connect)))

    def connected(self) -> None:
        self.is_connected = True
        self.first_ends = self._time() + seconds(self.timeouts.first)
        self.scope.reschedule(self._next(self.first_ends))

    def _next(self, deadline: float) -> float | None:
        earliest = min(deadline, self.ends)
        return None if earliest == NEVER else earliest

    def timed_out(self) -> TransportError:
        if self.scope.when() == self.ends:  # not by the clock: uvloop's timers fire up to a millisecond early
            return TotalTimeout(f"No answer within {self.timeouts.total} s in all.")
        if self.is_connected:
            return FirstByteTimeout(f"No answer within {self.timeouts.first} s.")
        return ConnectFailed(f"No connection within {self.timeouts.connect} s.")


class AiohttpAnswer:
    """An Answer over an aiohttp response."""

    def __init__(self, owner: "AiohttpTransport", response: aiohttp.ClientResponse, opening: _Opening) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._owner = owner
        self._response = response
        self._content = response.content
        self._gap = seconds(opening.timeouts.gap)
        self._timeouts = opening.timeouts
        self._ends = opening.ends
        self._wait = opening.first_ends
        self._begun = False
        self._closed = False
        self._failure: TransportError | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER

    async def read(self) -> bytes:
        """See `Answer.read`."""
        if self._closed:
            return self._end()
        if self._begun:
            self._wait = self._loop.time() + self._gap
        if min(self._wait, self._ends) < self._timer_at:
            self._watch(min(self._wait, self._ends))
        try:
            data = await self._content.readany()
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError, aiohttp.http.HttpProcessingError) as error:
            data = self._what_came_before(error)
        except BaseException:  # a timeout of ours, or cancelled
            self._drop()
            raise
        self._wait = NEVER
        self._begun = True
        if not data:
            self._drop()
        return data

    async def read_all(self, limit: int) -> bytes:
        """See `Answer.read_all`."""
        return await transport.read_all(self, limit)

    async def close(self) -> None:
        """See `Answer.close`."""
        self._failure = None
        self._drop()

    def _what_came_before(self, error: Exception) -> bytes:
        """The connection broke. What had arrived while nobody read counts first (aiohttp keeps it, but would not give it out any more)."""
        data = self._content._read_nowait(-1)
        self._failure = _translated(error)
        self._failure.__cause__ = error
        self._drop()
        return data or self._end()

    def _end(self) -> bytes:
        """The end of the body; the first time after a break, its error."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return b""

    def _drop(self) -> None:
        """End this answer. aiohttp has put the connection back by itself when the body had ended; else `close` drops it."""
        if self._closed:
            return
        self._closed = True
        self._owner.closed(self)
        if self._timer is not None:
            self._timer.cancel()
        self._response.close()

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self._loop.call_at(deadline, self._look)

    def _look(self) -> None:
        """The timer fired: fail the waiting read if its time is over, else sleep on."""
        self._timer, self._timer_at = None, NEVER
        now = self._loop.time()
        deadline = min(self._wait, self._ends)
        if now < deadline:
            if deadline < NEVER:
                self._watch(deadline)
            return
        if now >= self._ends:
            error: TransportError = TotalTimeout(f"The answer took more than {self._timeouts.total} s in all.")
        elif self._begun:
            error = GapTimeout(f"Nothing came for {self._timeouts.gap} s.")
        else:
            error = FirstByteTimeout(f"No byte of the body within {self._timeouts.first} s.")
        self._content.set_exception(error)


class AiohttpTransport:
    """A Transport on aiohttp. To be used in one event loop; connections are kept alive and shared by host, port, TLS and proxy."""

    def __init__(self, guard: Guard) -> None:
        """`guard` judges every address dialled, a proxy's included."""
        self._guard = guard
        self._session: aiohttp.ClientSession | None = None
        self._open: set[AiohttpAnswer] = set()
        self._is_closed = False

    @property
    def open_connections(self) -> int:
        """Answers not yet closed."""
        return len(self._open)

    async def open(self, request: Request) -> AiohttpAnswer:
        """See `Transport.open`."""
        session = self._running_session()
        self._guard.check_url(request.url)
        opening = _Opening(request.timeouts)
        mark = _opening.set(opening)
        try:
            async with opening.scope:
                response = await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=_headers(request),
                    data=_payload(request.body),
                    proxy=request.proxy,
                    allow_redirects=False,
                )
        except TransportError:
            raise
        except TimeoutError as error:
            raise opening.timed_out() from error
        except (aiohttp.ClientError, OSError, ValueError, RuntimeError) as error:
            raise _translated(error, opening) from error
        finally:
            _opening.reset(mark)
        answer = AiohttpAnswer(self, response, opening)
        self._open.add(answer)
        return answer

    async def close(self) -> None:
        """Drop all connections and refuse further requests."""
        self._is_closed = True
        for answer in list(self._open):
            await answer.close()
        if self._session is not None:
            await self._session.close()

    def closed(self, answer: AiohttpAnswer) -> None:
        """An answer reports its end."""
        self._open.discard(answer)

    def _running_session(self) -> aiohttp.ClientSession:
        # Made at the first request: a session belongs to the loop that is running then.
        if self._is_closed:
            raise ConnectFailed("The transport is closed.")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(self._guard),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_read=None, sock_connect=None),
                auto_decompress=False,
                trust_env=False,
                skip_auto_headers=("User-Agent", "Content-Type"),
            )
        return self._session


def _headers(request: Request) -> list[tuple[str, str]]:
    headers = list(request.headers)
    if not any(name.lower() == "accept-encoding" for name, _ in headers):
        headers.append(("Accept-Encoding", "identity"))
    return headers


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    if len(body) > _LARGE_BODY:
        return io.BytesIO(body)
    return body or None


def _translated(error: BaseException, opening: _Opening | None = None) -> TransportError:
    """Our error for one of aiohttp's. Before the connection stood nothing was sent."""
    told = f"{type(error).__name__}: {error}"
    if opening is not None and not opening.is_connected:
        return ConnectFailed(told)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientHttpProxyError | aiohttp.InvalidURL):
        return ConnectFailed(told)
    return Broken(told)
