"""A TCP proxy before a database, for outages: it forwards, falls silent with its connections open, or cuts them and refuses new ones."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.services import free_port

FORWARD, SILENT, CUT = "forward", "silent", "cut"


class Proxy:
    """`mode` is read at each piece of data; `url` is the database's with the proxy's port."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.port = free_port()
        self.mode = FORWARD
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()

    def forward(self) -> None:
        """As if nothing were between; what was kept back goes on."""
        self.mode = FORWARD

    def fall_silent(self) -> None:
        """Connections are accepted and stay open; nothing passes, in either direction."""
        self.mode = SILENT

    def cut(self) -> None:
        """All connections break, and new ones at once."""
        self.mode = CUT
        self._loop.call_soon_threadsafe(self._abort_all)

    def _abort_all(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                while self.mode == SILENT:  # noqa: ASYNC110  another thread sets it
                    await asyncio.sleep(0.02)
                if self.mode == CUT:
                    break
                writer.write(data)
                await writer.drain()
        writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == CUT:
            writer.transport.abort()
            return
        there_reader, there = await asyncio.open_connection(*self.target)
        self._open |= {writer, there}
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(self._pump(reader, there), self._pump(there_reader, writer))
        finally:
            self._open -= {writer, there}
            there.transport.abort()
            writer.transport.abort()

    async def _run(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        ready.set()
        await self._stopping.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0.05)  # the transports say goodbye

    def run(self, ready: threading.Event) -> None:
        """Serves until it is stopped."""
        self._loop.run_until_complete(self._run(ready))
        self._loop.close()

    def stop(self) -> None:
        """Ends the thread that runs it."""
        self._loop.call_soon_threadsafe(self._stopping.set)


@contextmanager
def before(database_url: str) -> Iterator[tuple[Proxy, str]]:
    """A running proxy, and the database's URL through it."""
    start, _, rest = database_url.rpartition("@")
    address, _, name = rest.partition("/")
    host, _, port = address.partition(":")
    proxy = Proxy(host, int(port or 5432))
    ready = threading.Event()
    thread = threading.Thread(target=proxy.run, args=(ready,), daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield proxy, f"{start}@127.0.0.1:{proxy.port}/{name}"
    finally:
        proxy.stop()
        thread.join(10)
