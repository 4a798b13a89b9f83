"""What the tests of attempts share: channels without a database, requests, and the outcome of one try."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from channels_app.attempt import Ask, Opened, TryElsewhere, attempt
from channels_app.provider import Credential, Operation, Upstream
from outbound.client_aiohttp import AiohttpTransport
from outbound.guard import Guard
from outbound.transport import Timeouts
from tests.upstream.server import KEY
from wire.errors import GatewayError
from wire.peek import read_head

MODEL = "gpt-4o-mini"
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
PATIENT = Timeouts(connect=5.0, first=20.0, gap=20.0, total=60.0)


def channel(base_url: str = "", *, provider: str = "custom", identity: int = 1, keys: tuple[str, ...] = (KEY,), **more: Any) -> Upstream:
    """A channel with these keys, whose ids count from 1."""
    values: dict[str, Any] = {
        "models": frozenset({MODEL}),
        "groups": frozenset({"default"}),
        "mapping": {},
        "priority": 0,
        "weight": 1,
        **more,
    }
    credentials = tuple(Credential(number, key) for number, key in enumerate(keys, 1))
    return Upstream(id=identity, name=f"channel {identity}", provider=provider, base_url=base_url, keys=credentials, **values)


def ask_of(body: bytes | dict[str, Any] = CHAT, operation: Operation = Operation.CHAT, hops: int = 0) -> Ask:
    """A client's request, as the relay reads it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = read_head(raw)
    wants_usage = head.stream_options is not None and bool(head.stream_options.include_usage)
    return Ask(operation=operation, head=head, body=raw, model=head.model or "", stream=bool(head.stream), wants_usage=wants_usage, hops=hops)


def streamed(**more: Any) -> Ask:
    """A request for a stream."""
    return ask_of({**CHAT, "stream": True, **more})


@asynccontextmanager
async def opening(upstream: Upstream, ask: Ask | None = None, timeouts: Timeouts = PATIENT) -> AsyncIterator[Opened]:
    """One try on a channel, by its first key; closed at the end."""
    transport = AiohttpTransport(Guard("channel"))
    try:
        opened = await attempt(transport, upstream, upstream.keys[0], ask or ask_of(), timeouts)
        try:
            yield opened
        finally:
            await opened.close()
        assert transport.open_connections == 0
    finally:
        await transport.close()


async def failure_of(upstream: Upstream, ask: Ask | None = None, timeouts: Timeouts = PATIENT) -> TryElsewhere:
    """How a try fails for which another channel may be asked; no connection stays open."""
    transport = AiohttpTransport(Guard("channel"))
    try:
        opened = await attempt(transport, upstream, upstream.keys[0], ask or ask_of(), timeouts)
    except TryElsewhere as failure:
        assert transport.open_connections == 0
        return failure
    finally:
        await transport.close()
    raise AssertionError(f"it was answered with {opened.status}: {opened.body[:200]!r} {opened.buffered[:3]!r}")


async def fault_of_the_client(upstream: Upstream, ask: Ask | None = None) -> GatewayError:
    """How a try fails for which no other channel would do better."""
    transport = AiohttpTransport(Guard("channel"))
    try:
        opened = await attempt(transport, upstream, upstream.keys[0], ask or ask_of(), PATIENT)
    except GatewayError as error:
        assert transport.open_connections == 0
        return error
    finally:
        await transport.close()
    raise AssertionError(f"it was answered with {opened.status}")


async def rest_of(opened: Opened) -> bytes:
    """All bytes of a stream, from its beginning."""
    events = list(opened.buffered)
    while more := await opened.next():
        events += more
    return b"".join(events)
