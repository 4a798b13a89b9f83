"""What our own client does by itself: kept connections that break, bounds on what an upstream may send, backpressure, addresses and headers."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from outbound import http1
from outbound.guard import Guard
from outbound.http1 import Http1Transport, target_of
from outbound.http1_connection import HEAD_LIMIT, HIGH_WATER
from outbound.transport import Broken, ConnectFailed, Request, Timeouts
from tests.outbound.upstream import PATIENCE, STREAM_HEAD, Script, answering, chunk, plain, post, serving, then_cut


@pytest.fixture
async def client() -> AsyncIterator[Http1Transport]:
    made = Http1Transport(Guard("channel"))
    yield made
    await made.close()


def in_turn(*scripts: Script) -> Script:
    turns = iter(scripts)

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await next(turns)(reader, writer)

    return script


@pytest.mark.parametrize("abort", [False, True])
async def test_a_kept_connection_that_closes_as_we_write_is_replaced_once(client: Http1Transport, abort: bool) -> None:
    async with serving(in_turn(answering(plain(b"one")), then_cut(b"", abort=abort), answering(plain(b"two")))) as upstream:
        assert await (await client.open(post(upstream.url))).read_all(10) == b"one"

        assert await (await client.open(post(upstream.url, b'{"n":2}'))).read_all(10) == b"two"

        assert upstream.connections == 2
        assert upstream.bodies == [b"{}", b'{"n":2}', b'{"n":2}']


async def test_a_fresh_connection_that_closes_is_not_replaced(client: Http1Transport) -> None:
    async with serving(in_turn(answering(plain(b"one")), then_cut(b""), then_cut(b""), answering(plain(b"four")))) as upstream:
        assert await (await client.open(post(upstream.url))).read_all(10) == b"one"

        with pytest.raises(Broken):
            await client.open(post(upstream.url))

        assert len(upstream.heads) == 3
        assert client.open_connections == 0


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
async def test_after_the_first_byte_of_an_answer_nothing_is_repeated(client: Http1Transport, begun: bytes) -> None:
    async with serving(in_turn(answering(plain(b"one")), then_cut(begun), answering(plain(b"three")))) as upstream:
        assert await (await client.open(post(upstream.url))).read_all(10) == b"one"

        with pytest.raises(Broken):
            await client.open(post(upstream.url))

        assert len(upstream.heads) == 2


async def test_silent_connections_are_dropped(client: Http1Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "KEEP_ALIVE", 0.1)
    monkeypatch.setattr(http1, "SWEEP", 0.1)
    async with serving(answering(plain(b"ok"))) as upstream:
        answers = await asyncio.gather(*(client.open(post(upstream.url)) for _ in range(5)))
        for answer in answers:
            await answer.read_all(10)
        assert upstream.open == 5

        await upstream.until_closed()

        assert await (await client.open(post(upstream.url))).read_all(10) == b"ok"
        assert upstream.connections == 6


@pytest.mark.parametrize(
    "more",
    [
        plain(b"smuggled"),
        b"HTTP/1.1 200 OK\r\n",
        b"\r\n\r\n",
        b"garbage",
    ],
)
async def test_what_follows_an_answer_is_never_the_next_one(client: Http1Transport, more: bytes) -> None:
    async with serving(answering(plain(b"first") + more)) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(3):
            answer = await client.open(post(upstream.url))
            assert await answer.read_all(100) == b"first"
            await answer.close()


async def test_an_answer_that_nobody_asked_for_is_never_the_next_one(client: Http1Transport) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain(b"asked for"))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(plain(b"unasked"))

    async with serving(script) as upstream, asyncio.timeout(PATIENCE):
        for _ in range(3):
            answer = await client.open(post(upstream.url))
            assert await answer.read_all(100) == b"asked for"
            await answer.close()
            await asyncio.sleep(0.1)


async def test_a_change_of_protocol_is_refused(client: Http1Transport) -> None:
    async with serving(then_cut(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\nraw")) as upstream:
        with pytest.raises(Broken):
            await (await client.open(post(upstream.url))).read_all(1000)


def repeating(start: bytes, piece: bytes) -> Script:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(piece)
            await writer.drain()

    return script


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: of it\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
        (STREAM_HEAD + b"0\r\n", b"X-Trailer: of it\r\n"),
        (STREAM_HEAD + b"1;", b"extension" * 100),
    ],
)
async def test_heads_trailers_and_frames_without_an_end_are_refused(client: Http1Transport, start: bytes, piece: bytes) -> None:
    async with serving(repeating(start, piece)) as upstream, asyncio.timeout(PATIENCE):
        with pytest.raises(Broken, match=f"{HEAD_LIMIT}|not HTTP"):
            await (await client.open(post(upstream.url))).read_all(10_000)

        await upstream.until_closed()


async def test_an_upstream_is_held_back_by_a_slow_reader(client: Http1Transport) -> None:
    written = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(STREAM_HEAD)
        for _ in range(4000):
            writer.write(chunk(b"x" * 16_384))
            await writer.drain()
            written += 16_384
        writer.write(b"0\r\n\r\n")

    async with serving(script) as upstream, asyncio.timeout(PATIENCE):
        answer = await client.open(post(upstream.url))
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.1)
        assert written < 4000 * 16_384 / 2  # the kernel's buffers, and ours

        total = len(await answer.read())
        assert total < 2 * HIGH_WATER
        while piece := await answer.read():
            total += len(piece)
        assert total == 4000 * 16_384


async def test_a_request_is_written_as_it_is(client: Http1Transport) -> None:
    async with serving(answering(plain(b"ok"))) as upstream:
        headers = (("Authorization", "Bearer ü"), ("Accept", "text/event-stream"), ("accept-encoding", "br"))
        await (await client.open(post(upstream.url, b"{}", headers))).read_all(10)
        await (await client.open(Request("GET", upstream.url, ()))).read_all(10)

    host = upstream.url.split("/")[2].encode()
    assert upstream.heads == [
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer \xc3\xbc\r\nAccept: text/event-stream\r\naccept-encoding: br\r\n"
        b"Content-Length: 2\r\n\r\n" % host,
        b"GET /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\nAccept-Encoding: identity\r\n\r\n" % host,
    ]


@pytest.mark.parametrize("header", [("X", "a\r\nY: b"), ("X\r\nY", "b"), ("X", "a\nb"), ("X", "a\x00b"), ("X", "a\x85b"), ("X", "a\u2028b")])
async def test_a_header_that_would_end_its_line_is_refused(client: Http1Transport, header: tuple[str, str]) -> None:
    async with serving(answering(plain(b"ok"))) as upstream:
        with pytest.raises(ConnectFailed):
            await client.open(post(upstream.url, headers=(header,)))
        assert upstream.heads == []


@pytest.mark.parametrize("path", ["/a b", "/a\tb", "/ü", "/\x7f"])
def test_a_path_that_is_not_encoded_is_refused(path: str) -> None:
    with pytest.raises(ConnectFailed):
        target_of(f"http://models.example{path}")


@pytest.mark.parametrize(
    ("url", "key", "line"),
    [
        ("http://h", ("h", 80, False), b"/ HTTP/1.1\r\nHost: h\r\n"),
        ("https://H.example/v1?a=%20b#f", ("h.example", 443, True), b"/v1?a=%20b HTTP/1.1\r\nHost: h.example\r\n"),
        ("https://[2001:db8::1]:8443/x", ("2001:db8::1", 8443, True), b"/x HTTP/1.1\r\nHost: [2001:db8::1]:8443\r\n"),
        ("http://bücher.example:80/", ("xn--bcher-kva.example", 80, False), b"/ HTTP/1.1\r\nHost: xn--bcher-kva.example:80\r\n"),
    ],
)
def test_where_an_address_leads(url: str, key: tuple[str, int, bool], line: bytes) -> None:
    assert target_of(url) == (key, line)


async def test_the_next_address_of_a_host_is_tried(client: Http1Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(plain(b"ok"))) as upstream, asyncio.timeout(PATIENCE):
        lookups = 0

        async def resolve(host: str, port: int) -> http1.Addresses:
            nonlocal lookups
            lookups += 1
            found = await asyncio.get_running_loop().getaddrinfo("127.0.0.1", port, type=1)
            closed = await asyncio.get_running_loop().getaddrinfo("127.0.0.2", 1, type=1)
            return [*closed, *found]

        monkeypatch.setattr(http1, "resolve", resolve)
        url = f"http://models.example:{upstream.port}/"
        answers = [await client.open(post(url)) for _ in range(3)]
        assert [await answer.read_all(10) for answer in answers] == [b"ok"] * 3
        assert (upstream.connections, lookups) == (3, 1)  # a name is believed for a while


async def test_a_request_for_a_proxy_is_another_clients(client: Http1Transport) -> None:
    with pytest.raises(ConnectFailed, match="proxies"):
        await client.open(post("http://127.0.0.1:1/", proxy="http://127.0.0.1:2"))


async def test_one_timer_serves_many_requests(client: Http1Transport) -> None:
    async with serving(answering(plain(b"ok"))) as upstream:
        loop = asyncio.get_running_loop()
        made: list[float] = []
        real = loop.call_at

        class Counting:
            def __getattr__(self, name: str) -> object:
                return getattr(loop, name)

            def call_at(self, when: float, *arguments: object) -> object:
                made.append(when)
                return real(when, *arguments)

        await (await client.open(post(upstream.url))).read_all(10)
        (connection,) = client._connections
        connection._loop = Counting()  # type: ignore[assignment]
        for _ in range(20):
            await (await client.open(post(upstream.url, timeouts=Timeouts()))).read_all(10)

        assert len(made) <= 1
