"""What is written in one turn goes out together, in order, and nothing is lost at a close."""

import asyncio

from oneapi_site.joined_writes import AT_ONCE, JoinedTransport


class Socket:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []
        self.closing = False

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.closing = True
        self.done.append("closed")

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str) -> str:
        return name


def joined() -> tuple[JoinedTransport, Socket]:
    socket = Socket()
    return JoinedTransport(socket, asyncio.get_running_loop()), socket


async def test_one_turn_is_one_write() -> None:
    transport, socket = joined()
    for data in (b"head", b"body", b"end"):
        transport.write(data)
    assert socket.done == []
    await asyncio.sleep(0)
    assert socket.done == [b"headbodyend"]
    transport.write(b"next")
    await asyncio.sleep(0)
    assert socket.done == [b"headbodyend", b"next"]


async def test_much_goes_out_at_once() -> None:
    transport, socket = joined()
    transport.write(b"x" * AT_ONCE)
    assert socket.done == []
    transport.write(b"y")
    assert socket.done == [b"x" * AT_ONCE + b"y"]
    await asyncio.sleep(0)
    assert len(socket.done) == 1


async def test_a_close_comes_after_what_was_written() -> None:
    transport, socket = joined()
    transport.write(b"last words")
    transport.close()
    assert socket.done == [b"last words", "closed"]


async def test_nothing_is_written_to_a_connection_that_is_going() -> None:
    transport, socket = joined()
    transport.write(b"too late")
    socket.closing = True
    await asyncio.sleep(0)
    assert socket.done == []


async def test_all_else_is_the_transports_own() -> None:
    transport, _ = joined()
    assert transport.get_extra_info("peername") == "peername"
