"""A health test: one small request through a channel, by the same code that serves clients, past the channel's own state.

The outcome goes to ChannelState, which is what the machine observes, and what it cost us to the usage log; nothing is enabled or disabled
here, and no balance is touched.
"""

import asyncio
import json
import time
from dataclasses import dataclass

import msgspec
from django.utils import timezone

from accounts.encryption import EncryptionError
from billing.ledger.records import uuid7
from billing.models import UsageRecord
from billing.price_list import book_of
from billing.pricing import Price, upstream_cost
from channels_app.attempt import Ask, Opened, TryElsewhere, attempt
from channels_app.models import Channel, ChannelState
from channels_app.provider import Credential, Operation, Upstream
from channels_app.registry import PROVIDERS
from outbound.guard import Guard
from outbound.relay_transport import RelayTransport
from outbound.transport import Timeouts
from wire.errors import GatewayError
from wire.peek import read_head
from wire.usage import Usage, normalise

TIMEOUTS = Timeouts(connect=10.0, first=60.0, gap=30.0, total=90.0)
PROMPT = "Say ok."


@dataclass(frozen=True)
class Outcome:
    """What a test found: `error` is empty where the channel answered. `model` is the one asked for, by our name."""

    error: str
    response_ms: int
    model: str = ""


@dataclass(frozen=True)
class Finding:
    """An outcome with what the usage log wants to know of it. `status` is the upstream's, 0 where it did not answer."""

    ended: UsageRecord.Ending
    status: int
    error: str = ""
    usage: bytes | None = None
    request_id: str = ""


def test_channel(channel: Channel) -> Outcome:
    """`test_model` with the channel's test model, else with the first of its models."""
    return test_model(channel, channel.test_model or next(iter(channel.model_names), ""))


def test_model(channel: Channel, model: str) -> Outcome:
    """Sends a request for `model` and writes down what came of it. Never raises for what is wrong with the channel.

    Synchronous: for the console, commands and tasks, not for an event loop.
    """
    try:
        upstream = upstream_of(channel)
    except (EncryptionError, ValueError) as error:  # ValueError: extra headers that are no JSON
        return observed(channel, Outcome(f"This channel cannot be read: {error}", 0, model))
    if channel.provider not in PROVIDERS:
        return observed(channel, Outcome(f"There is no provider {channel.provider} any more.", 0, model))
    if not model:
        return observed(channel, Outcome("This channel has no model to test it with.", 0))
    started = time.monotonic()
    finding = asyncio.run(ask(upstream, model))
    outcome = Outcome(finding.error, round((time.monotonic() - started) * 1000), model)
    book(upstream, finding, outcome)
    return observed(channel, outcome)


async def ask(upstream: Upstream, model: str) -> Finding:
    """One request for `model`, and how it ended."""
    operation, fields = operation_of(model)
    body = json.dumps({"model": model, **fields}).encode()
    transport = RelayTransport(Guard("channel"))
    try:
        request = Ask(operation=operation, head=read_head(body), body=body, model=model)
        opened = await attempt(transport, upstream, upstream.keys[0], request, TIMEOUTS)
        await opened.close()
    except TryElsewhere as failure:
        ended = UsageRecord.Ending.EMPTY if failure.verdict.kind == "empty" else UsageRecord.Ending.FAILED
        return Finding(ended, failure.status, failure.error.message)
    except GatewayError as failure:
        return Finding(UsageRecord.Ending.FAILED, failure.status, failure.message)
    finally:
        await transport.close()
    return Finding(UsageRecord.Ending.DONE, opened.status, usage=usage_in(opened), request_id=opened.request_id)


def usage_in(opened: Opened) -> bytes | None:
    """The usage that an answer reports, as JSON."""
    return bytes(opened.tail.usage) if opened.tail is not None and opened.tail.usage is not None else None


def observed(channel: Channel, outcome: Outcome) -> Outcome:
    """Writes the outcome to the channel's state, and gives it back."""
    ChannelState.objects.update_or_create(
        channel=channel,
        key=None,
        defaults={"tested_at": timezone.now(), "response_ms": outcome.response_ms, "test_error": printable(outcome.error)[:500]},
    )
    return outcome


def book(upstream: Upstream, finding: Finding, outcome: Outcome) -> None:
    """The test's row in the usage log: nobody's, amount 0, with what the upstream will ask of us."""
    served = upstream.name_of(outcome.model)
    price = price_of(served, outcome.model, upstream.id)
    usage = None
    if finding.usage is not None:
        usage = normalise(finding.usage, context=(price and price.context_limit) or 0, output_limit=(price and price.output_limit) or 0)
    operation, _ = operation_of(outcome.model)
    now = timezone.now()
    UsageRecord.objects.create(
        id=uuid7(int(now.timestamp() * 1000)),
        at=now,
        type=UsageRecord.Type.TEST,
        ended=finding.ended,
        boot_id="",
        user_id=0,
        token_id=0,
        channel_id=upstream.id,
        key_id=upstream.keys[0].id,
        group="",
        endpoint=operation.value,
        model=printable(outcome.model)[:200],
        model_served=printable(served)[:200],
        stream=False,
        counted=False,
        input_tokens=usage.total_input if usage else 0,
        output_tokens=usage.total_output if usage else 0,
        amount=0,
        upstream_cost=upstream_cost(price, usage) if price and usage else 0,
        status=finding.status,
        duration_ms=outcome.response_ms,
        upstream_request_id=printable(finding.request_id)[:128],
        detail=detail_of(finding, usage),
    )


def detail_of(finding: Finding, usage: Usage | None) -> dict[str, object]:
    """The usage by bucket, or the error. No lines: nobody is charged."""
    detail: dict[str, object] = {"usage": msgspec.to_builtins(usage)} if usage else {}
    return {**detail, "error": printable(finding.error)[:500]} if finding.error else detail


def price_of(served: str, asked: str, channel: int) -> Price | None:
    """What a channel's upstream asks for a model by its own name for it, else by ours."""
    book, now = book_of(served, asked), time.time()
    return book.cost(served, channel, now) or book.cost(asked, channel, now)


def printable(text: str) -> str:
    """Text from outside as a column takes it."""
    return "".join(char for char in text if char.isprintable())


def operation_of(model: str) -> tuple[Operation, dict[str, object]]:
    """The operation that a model of this name offers, and what to ask of it."""
    if "embed" in model:
        return Operation.EMBEDDINGS, {"input": PROMPT}
    if "moderation" in model:
        return Operation.MODERATIONS, {"input": PROMPT}
    if model.endswith("-instruct") and model.startswith("gpt-"):
        return Operation.COMPLETIONS, {"prompt": PROMPT, "max_tokens": 5}
    return Operation.CHAT, {"messages": [{"role": "user", "content": PROMPT}]}


def upstream_of(channel: Channel) -> Upstream:
    """The channel as an attempt needs it, whatever its state. Raises EncryptionError, ValueError."""
    headers = json.loads(channel.extra_headers) if channel.extra_headers else {}
    keys = tuple(Credential(key.pk, key.secret) for key in channel.keys.filter(enabled=True))
    return Upstream(
        id=channel.pk,
        name=channel.name,
        provider=channel.provider,
        base_url=channel.base_url,
        models=frozenset(channel.model_names),
        groups=frozenset(),
        mapping=dict(channel.mapping),
        priority=channel.priority,
        weight=channel.weight,
        keys=keys or (Credential(0, ""),),
        system_prompt=channel.system_prompt,
        settings=dict(channel.settings),
        proxy=channel.proxy or None,
        extra_headers=tuple((str(name), str(value)) for name, value in headers.items()),
    )
