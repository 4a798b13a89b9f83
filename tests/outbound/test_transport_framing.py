"""However an answer is cut into packets and framed, the same bytes come out; and what does not hold together is refused."""

import asyncio

import pytest

from outbound.transport import Broken
from tests.outbound.upstream import PATIENCE, STREAM_HEAD, Script, chunk, plain, post, serving, then_cut, transport_for

CHUNKED = STREAM_HEAD + chunk(b"data: 1\n\n") + chunk(b"x" * 20) + b"3;ext=1\r\nabc\r\n" + b"0\r\nTrailer: t\r\n\r\n"
CASES = {
    "chunked": (CHUNKED, b"data: 1\n\n" + b"x" * 20 + b"abc"),
    "fixed": (plain(b"hello there"), b"hello there"),
    "empty": (plain(b""), b""),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + plain(b"ok"), b"ok"),
    "after 103": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Not: this\r\n\r\n" + plain(b"ok"), b"ok"),
}


def in_pieces(answer: bytes, size: int) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(answer), size):
            writer.write(answer[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)

    return script


@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("case", CASES)
async def test_split_anywhere_it_is_the_same_answer(case: str, size: int) -> None:
    sent, body = CASES[case]
    async with serving(in_pieces(sent, size)) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        for _ in range(2):
            answer = await transport.open(post(upstream.url))
            assert answer.status == 200
            assert "x-not" not in answer.headers
            assert await answer.read_all(1000) == body
            await answer.close()

        assert upstream.connections == 1


async def test_split_at_every_byte() -> None:
    turn = iter(range(1, len(CHUNKED)))

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cut = next(turn)
        writer.write(CHUNKED[:cut])
        await writer.drain()
        await asyncio.sleep(0.001)
        writer.write(CHUNKED[cut:])

    async with serving(script) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        for _ in range(1, len(CHUNKED)):
            answer = await transport.open(post(upstream.url))
            assert await answer.read_all(1000) == CASES["chunked"][1]
            await answer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
    ],
)
async def test_framing_that_two_readers_would_read_differently_is_refused(answer: bytes) -> None:
    async with serving(then_cut(answer)) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        with pytest.raises(Broken):
            await (await transport.open(post(upstream.url))).read_all(1000)
        assert transport.open_connections == 0


async def test_http_1_0_is_read_to_its_end_and_not_kept() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        raise ConnectionResetError

    async with serving(script) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        for _ in range(2):
            answer = await transport.open(post(upstream.url))
            assert await answer.read_all(10) == b"ok"
            await answer.close()

        assert upstream.connections == 2
