"""Four timeouts, each with its own error, and each closes the connection."""

import asyncio
import socket

import pytest

from outbound.transport import ConnectFailed, FirstByteTimeout, GapTimeout, Timeouts, TotalTimeout
from tests.outbound.upstream import PATIENCE, STREAM_HEAD, answering, chunk, plain, post, serving, then_silence, transport_for

SHORT = 0.15
LONG = 60.0


async def test_connect_silence_in_the_tls_handshake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts in the kernel, and never says a word
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with transport_for() as transport, asyncio.timeout(PATIENCE):
            with pytest.raises(ConnectFailed, match="No connection"):
                await transport.open(post(url, timeouts=Timeouts(connect=SHORT, first=LONG, gap=LONG, total=LONG)))


async def test_first_silence_before_the_head() -> None:
    async with serving(then_silence(b"")) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        with pytest.raises(FirstByteTimeout):
            await transport.open(post(upstream.url, timeouts=Timeouts(connect=LONG, first=SHORT, gap=LONG, total=LONG)))

        await upstream.until_closed()


async def test_first_silence_between_head_and_body() -> None:
    async with serving(then_silence(STREAM_HEAD)) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        answer = await transport.open(post(upstream.url, timeouts=Timeouts(connect=LONG, first=SHORT, gap=LONG, total=LONG)))

        with pytest.raises(FirstByteTimeout):
            await answer.read()

        await upstream.until_closed()
        assert transport.open_connections == 0


async def test_first_counts_on_a_connection_used_again() -> None:
    turns = iter([answering(plain(b"ok")), then_silence(b"")])

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(turns)(reader, writer)

    async with serving(script) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        await (await transport.open(post(upstream.url))).read_all(10)

        with pytest.raises(FirstByteTimeout):
            await transport.open(post(upstream.url, timeouts=Timeouts(connect=LONG, first=SHORT, gap=LONG, total=LONG)))

        assert upstream.connections == 1


async def test_gap_silence_in_the_body() -> None:
    async with serving(then_silence(STREAM_HEAD + chunk(b"data: 1\n\n"))) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        answer = await transport.open(post(upstream.url, timeouts=Timeouts(connect=LONG, first=LONG, gap=SHORT, total=LONG)))
        assert await answer.read() == b"data: 1\n\n"

        with pytest.raises(GapTimeout):
            await answer.read()

        await upstream.until_closed()
        assert transport.open_connections == 0


async def test_total_in_a_body_that_drips() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        while not writer.is_closing():
            writer.write(chunk(b": ping\n\n"))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        answer = await transport.open(post(upstream.url, timeouts=Timeouts(connect=LONG, first=LONG, gap=LONG, total=0.3)))

        with pytest.raises(TotalTimeout):
            await answer.read_all(1_000_000)

        await upstream.until_closed()


async def test_total_before_the_answer() -> None:
    async with serving(then_silence(b"")) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        with pytest.raises(TotalTimeout):
            await transport.open(post(upstream.url, timeouts=Timeouts(connect=LONG, first=LONG, gap=LONG, total=SHORT)))


async def test_a_slow_reader_is_no_gap() -> None:
    async with serving(answering(STREAM_HEAD + chunk(b"data: 1\n\n") + b"0\r\n\r\n")) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url, timeouts=Timeouts(first=SHORT, gap=SHORT)))
        assert await answer.read() == b"data: 1\n\n"

        await asyncio.sleep(3 * SHORT)

        assert await answer.read() == b""


async def test_pieces_within_the_gap_keep_a_long_stream_alive() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD)
        for _ in range(10):
            writer.write(chunk(b"x"))
            await asyncio.sleep(0.1)
        writer.write(b"0\r\n\r\n")

    async with serving(script) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url, timeouts=Timeouts(first=0.7, gap=0.7)))

        assert await answer.read_all(100) == b"x" * 10


async def test_none_is_no_limit() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(SHORT)
        writer.write(plain(b"ok"))

    async with serving(script) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url, timeouts=Timeouts(connect=None, first=None, gap=None, total=None)))

        assert await answer.read_all(10) == b"ok"
