"""From a request and its end to the row of the usage log: the usage in buckets, the charge spelled out, the attempts made.

Texts from outside lose NUL and control characters and are cut to their columns here: a charge cannot fail on text (docs/ledger.md §1).
"""

import re
from typing import Any, NamedTuple

import msgspec

from billing.ledger.records import UsageFacts
from billing.price_rules import Terms
from billing.pricing import MILLION, Charge, Price, charge, upstream_cost
from gateway.keys import Caller
from wire.usage import Usage

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
MODEL_LENGTH = 200
ID_LENGTH = 128
ERROR_LENGTH = 500
ADDRESS_LENGTH = 45


class Tried(msgspec.Struct, frozen=True, gc=False):
    """One attempt, as the log keeps it."""

    channel: int
    key: str  # the last characters of the key
    status: int  # 0: no answer
    ms: int
    error: str


class Served(NamedTuple):
    """The channel that served, and what it costs there."""

    channel_id: int
    key_id: int
    model: str
    terms: Terms


class Timing(NamedTuple):
    """Milliseconds from the arrival of the request."""

    total: int
    first_token: int | None


class Outcome(NamedTuple):
    """How a request ended. `usage` is None where nothing was used; `counted` says that we counted it ourselves."""

    ended: str
    status: int
    usage: Usage | None
    counted: bool = False
    error: str = ""
    flags: tuple[str, ...] = ()
    upstream_request_id: str = ""


def clean(text: str, length: int) -> str:
    """Text from outside as a column takes it."""
    if text.isascii() and text.isprintable():
        return text[:length]
    return _CONTROL.sub("", text[: length * 2])[:length]


def facts_of(
    caller: Caller, endpoint: str, model: str, stream: bool, served: Served, outcome: Outcome, timing: Timing, tried: list[Tried]
) -> UsageFacts:
    """The row. The amount is that of the usage at the caller's price and ratio; nothing used costs nothing."""
    usage = outcome.usage
    flags = outcome.flags
    amount = cost = 0
    spelled: dict[str, Any] = {}
    if usage is not None:
        price, ratio_ppm, costs = served.terms
        total = charge(price, usage, ratio_ppm)
        amount = cost = total.amount
        if costs is not price or ratio_ppm != MILLION:
            cost = upstream_cost(costs, usage)
        spelled = spell_out(total, usage, price)
        if total.capped:
            flags = (*flags, "capped")
    detail = {
        **spelled,
        "attempts": [Tried(one.channel, clean(one.key, 8), one.status, one.ms, clean(one.error, ERROR_LENGTH)) for one in tried],
        **({"error": clean(outcome.error, ERROR_LENGTH)} if outcome.error else {}),
        **({"flags": flags} if flags else {}),
    }
    return UsageFacts(
        ended=outcome.ended,
        user_id=caller.user.id,
        token_id=caller.token.id,
        channel_id=served.channel_id,
        key_id=served.key_id,
        group=caller.group.name,
        endpoint=endpoint,
        model=clean(model, MODEL_LENGTH),
        model_served=clean(served.model, MODEL_LENGTH),
        stream=stream,
        counted=outcome.counted,
        input_tokens=usage.total_input if usage else 0,
        output_tokens=usage.total_output if usage else 0,
        amount=amount,
        upstream_cost=cost,
        status=outcome.status,
        duration_ms=timing.total,
        first_token_ms=timing.first_token,
        upstream_request_id=clean(outcome.upstream_request_id, ID_LENGTH),
        client_ip=clean(caller.client_ip, ADDRESS_LENGTH),
        detail=msgspec.json.encode(detail).decode(),
    )


def spell_out(total: Charge, usage: Usage, price: Price) -> dict[str, Any]:
    """`usage` by bucket; `lines` of bucket x price; the ratio: what the log shows, so that anybody can check the sum."""
    return {
        "usage": usage,
        "lines": total.lines,
        "ratio_ppm": total.ratio_ppm,
        "price_source": price.source,
    }
