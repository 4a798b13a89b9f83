"""A tiny server on a real socket that does whatever a test wants of an upstream, good manners included or not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

from outbound.client_aiohttp import AiohttpTransport
from outbound.guard import Guard
from outbound.relay_transport import RelayTransport
from outbound.transport import Request, Timeouts, Transport

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What to do after the head of a request was read; returning waits for the next request on the connection."""

PATIENCE = 10.0  # seconds that a test waits for what must happen
PATIENT = Timeouts()
CLIENTS: dict[str, Callable[[Guard], Transport]] = {"http1": RelayTransport, "aiohttp": AiohttpTransport}
client_under_test = "http1"
"""Set by a fixture: every test of the seam runs with each client."""


class Upstream:
    """Where it listens, and what it has seen."""

    def __init__(self) -> None:
        self.port = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    async def until_closed(self) -> None:
        """Return when the client has left every connection."""
        async with asyncio.timeout(PATIENCE):
            await self.left.wait()


@contextlib.asynccontextmanager
async def serving(script: Script, *, reads_body: bool = True) -> AsyncIterator[Upstream]:
    upstream = Upstream()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.connections += 1
        upstream.open += 1
        upstream.left.clear()
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                upstream.heads.append(head)
                upstream.asked.set()
                if reads_body:
                    upstream.bodies.append(await reader.readexactly(content_length(head)))
                await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left
        finally:
            upstream.open -= 1
            if not upstream.open:
                upstream.left.set()
            writer.close()

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(connected(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0, backlog=1000)
    upstream.port = server.sockets[0].getsockname()[1]
    try:
        yield upstream
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def transport_for(policy: Guard | None = None) -> AsyncIterator[Transport]:
    transport = CLIENTS[client_under_test](policy or Guard("channel"))
    try:
        yield transport
    finally:
        await transport.close()


def answering(answer: bytes) -> Script:
    """Send these bytes for every request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return script


def then_silence(answer: bytes) -> Script:
    """Send these bytes, then nothing, until the client leaves."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await reader.read()
        raise ConnectionResetError

    return script


def then_cut(answer: bytes, *, abort: bool = False) -> Script:
    """Send these bytes, then close the connection, or reset it."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        if abort:
            await asyncio.sleep(0.05)  # a reset overtakes what was not yet read
            writer.transport.abort()
        raise ConnectionResetError

    return script


def content_length(head: bytes) -> int:
    fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return int(fields.get(b"content-length", b"0"))


def plain(body: bytes, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def post(url: str, body: bytes = b"{}", headers: tuple[tuple[str, str], ...] = (), timeouts: Timeouts = PATIENT, proxy: str | None = None) -> Request:
    return Request("POST", url, headers, body, timeouts, proxy)


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
