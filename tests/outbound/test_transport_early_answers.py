"""An upstream may answer before it has read the request: the answer counts, and the connection is not used for anything else."""

import asyncio

import pytest

from tests.outbound.upstream import PATIENCE, plain, post, serving, transport_for

LARGE = b"x" * 20_000_000  # more than the buffers of both sides


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_refusal_before_the_body_was_read_is_seen(leaves: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large")
        await writer.drain()
        if leaves:
            writer.write_eof()
        await reader.read()
        raise ConnectionResetError

    async with serving(script, reads_body=False) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        answer = await transport.open(post(upstream.url, LARGE))

        assert answer.status == 413
        assert await answer.read_all(100) == b"too large"
        await answer.close()
        await upstream.until_closed()
        assert transport.open_connections == 0


async def test_a_connection_with_an_unfinished_request_is_not_used_again() -> None:
    seen: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b"early"))
        await writer.drain()
        while piece := await reader.read(1 << 16):
            seen.append(piece)
        raise ConnectionResetError

    async with serving(script, reads_body=False) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        first = await transport.open(post(upstream.url, LARGE))
        assert await first.read_all(100) == b"early"
        await first.close()

        second = await transport.open(post(upstream.url, b"{}"))
        assert await second.read_all(100) == b"early"
        await second.close()

        assert upstream.connections == 2
        assert b"POST" not in b"".join(seen)
