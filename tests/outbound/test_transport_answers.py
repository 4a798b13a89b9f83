"""What an upstream answers arrives unchanged, what we send is what was asked for, and connections are used again."""

import asyncio
import gzip

import pytest

from outbound.transport import AnswerTooLarge
from tests.outbound.upstream import STREAM_HEAD, answering, chunk, plain, post, serving, then_silence, transport_for


async def test_status_headers_and_body_arrive() -> None:
    answer_bytes = b"HTTP/1.1 418 Odd\r\nX-Request-ID: a\r\nx-request-id: b\r\nContent-Length: 5\r\n\r\nhello"
    async with serving(answering(answer_bytes)) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))

        assert answer.status == 418
        assert answer.headers["x-request-id"] == "b"
        assert await answer.read() == b"hello"
        assert await answer.read() == b""
        assert await answer.read() == b""


async def test_pieces_arrive_as_they_are_sent() -> None:
    go_on = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(b"data: 1\n\n"))
        await go_on.wait()
        writer.write(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    async with serving(script) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))

        assert await answer.read() == b"data: 1\n\n"
        go_on.set()
        assert await answer.read() == b"data: 2\n\n"
        assert await answer.read() == b""


async def test_only_what_was_asked_for_is_sent() -> None:
    async with serving(answering(plain(b"ok"))) as upstream, transport_for() as transport:
        answer = await transport.open(
            post(upstream.url + "?key=a%2Fb", b'{"a":1}', (("Authorization", "Bearer k"), ("Content-Type", "application/json")))
        )
        await answer.read_all(100)

    lines = upstream.heads[0].split(b"\r\n")
    assert lines[0] == b"POST /v1/chat/completions?key=a%2Fb HTTP/1.1"
    assert {line.split(b":")[0].lower() for line in lines[1:] if line} == {
        b"host",
        b"authorization",
        b"content-type",
        b"accept",
        b"accept-encoding",
        b"content-length",
    }
    assert b"Accept-Encoding: identity" in lines
    assert upstream.bodies == [b'{"a":1}']


async def test_a_body_read_to_its_end_gives_the_connection_back() -> None:
    async with serving(answering(plain(b"ok"))) as upstream, transport_for() as transport:
        for _ in range(3):
            answer = await transport.open(post(upstream.url))
            assert await answer.read_all(100) == b"ok"
            await answer.close()

        assert upstream.connections == 1
        assert transport.open_connections == 0


async def test_requests_at_the_same_time_have_no_limit() -> None:
    async with serving(answering(plain(b"ok"))) as upstream, transport_for() as transport:
        answers = await asyncio.gather(*(transport.open(post(upstream.url)) for _ in range(150)))

        assert upstream.connections == 150
        assert [await answer.read_all(10) for answer in answers] == [b"ok"] * 150


async def test_a_body_over_the_limit_is_refused_and_its_connection_dropped() -> None:
    async with serving(then_silence(STREAM_HEAD + chunk(b"x" * 1000))) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))

        with pytest.raises(AnswerTooLarge):
            await answer.read_all(999)

        await upstream.until_closed()
        assert transport.open_connections == 0


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    async with serving(answering(plain(b"x" * 1000))) as upstream, transport_for() as transport:
        assert await (await transport.open(post(upstream.url))).read_all(1000) == b"x" * 1000


async def test_nothing_is_decompressed() -> None:
    packed = gzip.compress(b"hello")
    async with serving(answering(plain(packed, b"Content-Encoding: gzip\r\n"))) as upstream, transport_for() as transport:
        assert await (await transport.open(post(upstream.url))).read_all(1000) == packed


async def test_a_large_request_body_arrives_whole() -> None:
    body = bytes(range(256)) * 40_000
    async with serving(answering(plain(b"ok"))) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url, body))
        await answer.read_all(10)

    assert upstream.bodies == [body]
    assert b"Transfer-Encoding" not in upstream.heads[0]
    assert b"Content-Disposition" not in upstream.heads[0]


async def test_cookies_are_not_kept() -> None:
    async with serving(answering(plain(b"ok", b"Set-Cookie: a=1; Path=/\r\n"))) as upstream, transport_for() as transport:
        for _ in range(2):
            await (await transport.open(post(upstream.url))).read_all(10)

    assert b"cookie" not in upstream.heads[1].lower()


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_ends_at_once(status: int) -> None:
    async with serving(answering(b"HTTP/1.1 %d Empty\r\n\r\n" % status)) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))

        assert (answer.status, await answer.read()) == (status, b"")
        assert transport.open_connections == 0


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")
        raise ConnectionResetError

    async with serving(script) as upstream, transport_for() as transport:
        assert await (await transport.open(post(upstream.url))).read_all(10) == b"hello"
