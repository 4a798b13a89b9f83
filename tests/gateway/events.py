"""A stream by hand: its events, and where they come from in batches."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from gateway.stream import Pump
from outbound.transport import TransportError

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def event(**fields: Any) -> bytes:
    """An event with that JSON."""
    return b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk", **fields}, separators=(",", ":")).encode() + b"\n\n"


def content(text: str, index: int = 0, **more: Any) -> bytes:
    """A chunk with text."""
    return event(choices=[{"index": index, "delta": {"content": text}, "finish_reason": None}], **more)


def finish(index: int = 0, text: str = "", **more: Any) -> bytes:
    """The chunk that ends a choice."""
    return event(choices=[{"index": index, "delta": {"content": text} if text else {}, "finish_reason": "stop"}], **more)


def usage(**more: Any) -> bytes:
    """The chunk after the last choice."""
    return event(choices=[], usage={**USAGE, **more})


class Source:
    """Gives batches away one by one; then ends, fails, or says nothing more."""

    def __init__(self, batches: Sequence[Sequence[bytes]], then: Exception | None = None, silent: bool = False) -> None:
        self._batches = [list(batch) for batch in batches]
        self._then = then
        self._silent = silent

    async def next(self) -> list[bytes]:
        """The next batch."""
        await asyncio.sleep(0)
        if self._batches:
            return self._batches.pop(0)
        if self._silent:
            await asyncio.Event().wait()
        if self._then is not None:
            raise self._then
        return []


class Run:
    """What a pump sent of a stream before its end was asked for, and the pump."""

    def __init__(self, pump: Pump, sent: list[bytes], broke: TransportError | None) -> None:
        self.pump = pump
        self.sent = b"".join(sent)
        self.broke = broke

    @property
    def all(self) -> bytes:
        """With the end."""
        return self.sent + self.pump.tail()


async def pumped(
    *batches: Sequence[bytes],
    first: Sequence[bytes] = (),
    hide_usage: bool = False,
    then: Exception | None = None,
    silent: bool = False,
    several: bool = False,
) -> Run:
    """Runs a pump over batches."""
    sent: list[bytes] = []

    async def write(data: bytes) -> None:
        sent.append(data)

    pump = Pump(Source(batches, then, silent), list(first), write, hide_usage, several)
    broke = None
    try:
        await pump.run()
    except TransportError as error:
        broke = error
    return Run(pump, sent, broke)
