"""Each way in which an upstream can fail has its own error, and only those where nothing was sent say so."""

import asyncio
import socket

import pytest

from outbound.transport import Broken, ConnectFailed
from tests.outbound.upstream import STREAM_HEAD, chunk, post, serving, then_cut, transport_for


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_nobody_listens() -> None:
    async with transport_for() as transport:
        with pytest.raises(ConnectFailed):
            await transport.open(post(f"http://127.0.0.1:{unused_port()}/"))


@pytest.mark.parametrize(
    "url", ["http://no-such-host.invalid/", "http://[::1", "http://a b/", "http:///x", "ftp://127.0.0.1/", "nonsense", "http://127.0.0.1:99999/"]
)
async def test_an_address_that_does_not_exist(url: str) -> None:
    async with transport_for() as transport:
        with pytest.raises(ConnectFailed):
            await transport.open(post(url))


async def test_a_server_that_does_not_speak_tls() -> None:
    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Plain HTTP\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(accepted, "127.0.0.1", 0) as plain, transport_for() as transport:
        with pytest.raises(ConnectFailed):
            await transport.open(post(f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/"))


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x00\xff\x00\xff\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_no_http(garbage: bytes) -> None:
    async with serving(then_cut(garbage)) as upstream, transport_for() as transport:
        with pytest.raises(Broken):
            await (await transport.open(post(upstream.url))).read_all(1000)
        assert transport.open_connections == 0


@pytest.mark.parametrize("abort", [False, True])
@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
async def test_a_connection_cut_before_the_answer(head: bytes, abort: bool) -> None:
    async with serving(then_cut(head, abort=abort)) as upstream, transport_for() as transport:
        with pytest.raises(Broken):
            await transport.open(post(upstream.url))
        assert len(upstream.heads) == 1  # a POST is never repeated


@pytest.mark.parametrize("abort", [False, True])
@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello", STREAM_HEAD + chunk(b"hello"), STREAM_HEAD + b"ff\r\nhello"]
)
async def test_a_connection_cut_in_the_body(start: bytes, abort: bool) -> None:
    async with serving(then_cut(start, abort=abort)) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))

        with pytest.raises(Broken):
            await answer.read_all(1000)

        assert transport.open_connections == 0
        assert await answer.read() == b""


@pytest.mark.parametrize("abort", [False, True])
async def test_what_came_before_a_cut_is_read_first(abort: bool) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await writer.drain()
        await asyncio.sleep(0.05)
        await then_cut(chunk(b"data: 2\n\n"), abort=abort)(reader, writer)

    async with serving(script) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))
        assert await answer.read() == b"data: 1\n\n"
        await upstream.until_closed()
        await asyncio.sleep(0.05)

        assert await answer.read() == b"data: 2\n\n"
        with pytest.raises(Broken):
            await answer.read()
        assert await answer.read() == b""
        assert transport.open_connections == 0


async def test_garbage_between_chunks() -> None:
    async with serving(then_cut(STREAM_HEAD + chunk(b"hello") + b"zz\r\nwhat\r\n")) as upstream, transport_for() as transport:
        with pytest.raises(Broken):
            await (await transport.open(post(upstream.url))).read_all(1000)


async def test_a_broken_connection_is_not_used_again() -> None:
    async with serving(then_cut(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")) as upstream, transport_for() as transport:
        for _ in range(2):
            with pytest.raises(Broken):
                await (await transport.open(post(upstream.url))).read_all(1000)

        assert upstream.connections == 2
