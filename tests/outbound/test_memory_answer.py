"""An answer that needs no network behaves like one that does."""

from collections.abc import Iterator

import pytest

from outbound.transport import AnswerTooLarge, MemoryAnswer


async def test_chunks_are_read_one_by_one() -> None:
    answer = MemoryAnswer(200, {"Content-Type": "text/plain"}, [b"a", b"", b"b"])

    assert (answer.status, answer.headers) == (200, {"content-type": "text/plain"})
    assert [await answer.read() for _ in range(4)] == [b"a", b"b", b"", b""]


async def test_all_is_read_within_the_limit() -> None:
    assert await MemoryAnswer(200, {}, [b"ab", b"cd"]).read_all(4) == b"abcd"
    assert await MemoryAnswer(200, {}, []).read_all(0) == b""


async def test_more_than_the_limit_is_refused() -> None:
    with pytest.raises(AnswerTooLarge):
        await MemoryAnswer(200, {}, [b"ab", b"cd"]).read_all(3)


async def test_chunks_are_drawn_as_they_are_read() -> None:
    drawn: list[int] = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            drawn.append(number)
            yield b"x"

    answer = MemoryAnswer(200, {}, chunks())
    await answer.read()
    assert drawn == [0]

    await answer.close()
    await answer.close()
    assert await answer.read() == b""
