"""The seam between the gateway and the network: what it asks of an HTTP client, without naming one.

The relay, the providers and the health tests know these types only, so that the client behind them can be replaced, and a provider that
answers by itself needs none.

    TransportError
    ├── ConnectFailed        nothing was sent: DNS, refused, TLS, no connection in time. Safe to try elsewhere.
    │   └── AddressRefused   the guard does not allow this address
    ├── FirstByteTimeout     connected and sent, but silent
    ├── GapTimeout           silent in the middle of the body
    ├── TotalTimeout         took too long in all
    ├── Broken               reset, cut short, or not HTTP
    └── AnswerTooLarge       more bytes than the reader wanted
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

import msgspec

NEVER = float("inf")
"""A deadline that does not come."""

KEEP_ALIVE = 4.5
"""Seconds that a silent connection is kept: below what common servers keep one (uvicorn and Node: 5 s), because a request on a connection
that is just being closed is lost, or must be sent again."""


class TransportError(Exception):
    """The root of all that can go wrong on the way to an upstream and back. Messages are for logs: they may name hosts."""


class ConnectFailed(TransportError):
    """No connection came about, so nothing was sent."""


class AddressRefused(ConnectFailed):
    """The guard does not allow to dial this address."""


class FirstByteTimeout(TransportError):
    """The request was sent, and not one byte of a body came in time."""


class GapTimeout(TransportError):
    """The body began, then nothing came for too long."""


class TotalTimeout(TransportError):
    """The whole exchange took too long."""


class Broken(TransportError):
    """The upstream reset or cut the connection, or what it sent is not HTTP."""


class AnswerTooLarge(TransportError):
    """The body is larger than its reader allows."""


class Timeouts(msgspec.Struct, frozen=True):
    """Four limits in seconds; None is no limit."""

    connect: float | None = 10.0
    """Name resolution, TCP and TLS."""
    first: float | None = 120.0
    """From the connection standing and the request going out to the first byte of the body."""
    gap: float | None = 120.0
    """How long one read may wait; time in which nobody reads does not count."""
    total: float | None = 1800.0
    """From `open` to the end of the body."""


def seconds(limit: float | None) -> float:
    """A limit as a number: None is none."""
    return NEVER if limit is None else limit


class Request(msgspec.Struct, frozen=True):
    """One request. Headers go out as they are; of the client's own only Host, Content-Length, Accept and Accept-Encoding are added."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""
    timeouts: Timeouts = Timeouts()
    proxy: str | None = None
    client: str = ""
    """"aiohttp": by that one, whatever the request is; "": by whichever is best for it."""


class Answer(Protocol):
    """An upstream's answer: its head is there, its body is read piece by piece."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; of a name sent twice the last value."""

    async def read(self) -> bytes:
        """What has arrived since the last read, at least one byte; b"" at the end.

        Raises TransportError. A cancelled read drops the connection.
        """
        ...

    async def read_all(self, limit: int) -> bytes:
        """The whole body. Raises AnswerTooLarge above `limit` bytes (and drops the connection), else as `read`."""
        ...

    async def close(self) -> None:
        """Give the connection back to the pool if the body was read to its end, else drop it. May be called again."""
        ...


class Transport(Protocol):
    """Something that opens answers. No redirect is followed, no cookie kept, nothing decompressed."""

    async def open(self, request: Request) -> Answer:
        """Send the request; return when status and headers are there. Raises TransportError."""
        ...

    async def close(self) -> None:
        """Drop all connections."""
        ...

    @property
    def open_connections(self) -> int:
        """Answers not yet closed."""
        ...


async def read_all(answer: Answer, limit: int) -> bytes:
    """The whole body of an answer, read by its `read`. Raises AnswerTooLarge above `limit` bytes, after closing the answer."""
    pieces: list[bytes] = []
    size = 0
    while piece := await answer.read():
        size += len(piece)
        if size > limit:
            await answer.close()
            raise AnswerTooLarge(f"The body is larger than {limit} bytes.")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class MemoryAnswer:
    """An answer made of chunks that are already here: for providers that answer by themselves, and for tests."""

    def __init__(self, status: int, headers: Mapping[str, str], chunks: Iterable[bytes]) -> None:
        """Empty chunks are left out: b"" means the end. The iterable may be lazy; it is drawn from one read at a time."""
        self.status = status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in headers.items()}
        self._chunks = iter(chunks)

    async def read(self) -> bytes:
        """The next chunk, b"" after the last or once closed."""
        return next(filter(None, self._chunks), b"")

    async def read_all(self, limit: int) -> bytes:
        """All chunks joined. Raises AnswerTooLarge above `limit` bytes."""
        return await read_all(self, limit)

    async def close(self) -> None:
        """Forget the chunks that were not read."""
        self._chunks = iter(())
