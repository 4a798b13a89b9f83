"""Which client a request goes through: our own for the plain ones, aiohttp for proxies, for other methods, and where a channel asks for it."""

from outbound.client_aiohttp import AiohttpTransport
from outbound.guard import Guard
from outbound.http1 import Http1Transport
from outbound.transport import Answer, Request

AIOHTTP = "aiohttp"
_PLAIN = frozenset({"POST", "GET"})


class RelayTransport:
    """A Transport. To be used in one event loop."""

    def __init__(self, guard: Guard) -> None:
        """`guard` judges every address dialled, a proxy's included."""
        self._plain = Http1Transport(guard)
        self._other = AiohttpTransport(guard)

    async def open(self, request: Request) -> Answer:
        """See `Transport.open`."""
        if request.proxy is None and request.client != AIOHTTP and request.method in _PLAIN:
            return await self._plain.open(request)
        return await self._other.open(request)

    async def close(self) -> None:
        """Drop all connections and refuse further requests."""
        await self._plain.close()
        await self._other.close()

    @property
    def open_connections(self) -> int:
        """Answers not yet closed."""
        return self._plain.open_connections + self._other.open_connections
