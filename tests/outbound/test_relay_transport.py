"""Which client asks: our own, but for proxies, other methods, and channels that say so."""

import pytest

from outbound.client_aiohttp import AiohttpAnswer
from outbound.guard import Guard
from outbound.http1 import Http1Answer
from outbound.relay_transport import RelayTransport
from outbound.transport import Request
from tests.outbound.upstream import answering, plain, serving


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Http1Answer),
        ({"method": "GET", "body": b""}, Http1Answer),
        ({"method": "DELETE", "body": b""}, AiohttpAnswer),
        ({"client": "aiohttp"}, AiohttpAnswer),
        ({"proxy": ""}, AiohttpAnswer),
    ],
)
async def test_the_client_follows_from_the_request(changes: dict[str, str], expected: type) -> None:
    async with serving(answering(plain(b"ok"))) as upstream:
        transport = RelayTransport(Guard("channel"))
        if "proxy" in changes:
            changes = {"proxy": f"http://127.0.0.1:{upstream.port}"}
        answer = await transport.open(Request(**{"method": "POST", "url": upstream.url, "headers": (), "body": b"{}", **changes}))
        assert type(answer) is expected
        assert transport.open_connections == 1
        assert await answer.read_all(10) == b"ok"
        await answer.close()
        assert transport.open_connections == 0
        await transport.close()
