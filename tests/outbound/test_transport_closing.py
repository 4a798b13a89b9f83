"""Whoever stops reading leaves nothing behind: no connection, no answer that counts as open."""

import asyncio

import pytest

from outbound.transport import ConnectFailed
from tests.outbound.upstream import PATIENCE, STREAM_HEAD, answering, chunk, plain, post, serving, then_silence, transport_for


async def test_a_cancelled_read_closes_the_connection() -> None:
    async with serving(then_silence(STREAM_HEAD + chunk(b"data: 1\n\n"))) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))
        await answer.read()
        reading = asyncio.ensure_future(answer.read())
        await asyncio.sleep(0.05)

        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

        await upstream.until_closed()
        assert transport.open_connections == 0


async def test_a_cancelled_open_closes_the_connection() -> None:
    async with serving(then_silence(b"")) as upstream, transport_for() as transport:
        opening = asyncio.ensure_future(transport.open(post(upstream.url)))
        await asyncio.wait_for(upstream.asked.wait(), PATIENCE)

        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

        await upstream.until_closed()
        assert transport.open_connections == 0


async def test_an_answer_closed_early_drops_its_connection() -> None:
    async with serving(then_silence(STREAM_HEAD + chunk(b"data: 1\n\n"))) as upstream, transport_for() as transport:
        answer = await transport.open(post(upstream.url))
        assert transport.open_connections == 1

        await answer.close()
        await answer.close()

        assert transport.open_connections == 0
        assert await answer.read() == b""
        await upstream.until_closed()


async def test_another_task_may_close_while_one_reads() -> None:
    async with serving(then_silence(STREAM_HEAD)) as upstream, transport_for() as transport, asyncio.timeout(PATIENCE):
        answer = await transport.open(post(upstream.url))
        reading = asyncio.ensure_future(answer.read())
        await asyncio.sleep(0.05)

        await answer.close()

        await asyncio.wait([reading], timeout=PATIENCE)
        assert reading.done()
        reading.exception()
        await upstream.until_closed()


async def test_a_thousand_abandoned_streams_leave_nothing() -> None:
    async with serving(then_silence(STREAM_HEAD + chunk(b"data: 1\n\n"))) as upstream, transport_for() as transport:
        for _ in range(10):
            answers = await asyncio.gather(*(transport.open(post(upstream.url)) for _ in range(100)))
            reads = [asyncio.ensure_future(answer.read_all(100)) for answer in answers]
            await asyncio.sleep(0)
            for read in reads:
                read.cancel()
            await asyncio.gather(*reads, return_exceptions=True)

        assert transport.open_connections == 0
        await upstream.until_closed()


async def test_a_closed_transport_drops_its_answers_and_opens_none() -> None:
    async with serving(then_silence(STREAM_HEAD)) as upstream, transport_for() as transport:
        await transport.open(post(upstream.url))

        await transport.close()

        assert transport.open_connections == 0
        await upstream.until_closed()
        with pytest.raises(ConnectFailed):
            await transport.open(post(upstream.url))


async def test_a_connection_that_the_upstream_closed_while_idle_is_not_used() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answering(plain(b"ok"))(reader, writer)
        raise ConnectionResetError

    async with serving(script) as upstream, transport_for() as transport:
        for _ in range(3):
            assert await (await transport.open(post(upstream.url))).read_all(10) == b"ok"
            await upstream.until_closed()
            await asyncio.sleep(0.05)

        assert upstream.connections == 3
