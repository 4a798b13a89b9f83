"""What a usage costs: an exact sum of products, rounded up once. Pure, and the only place where tokens become money.

Prices are integers of nano-dollars per million units, ratios parts per million: a product of the three is counted in 1e-12 nano-dollars,
so that nothing is lost before the end.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from billing.money import AMOUNT_LIMIT
from wire.usage import Usage

MILLION = 1_000_000
INPUT_BUCKETS = ("input", "cached", "cache_write_5m", "cache_write_1h", "audio_in", "image_in")
OUTPUT_BUCKETS = ("output", "reasoning", "audio_out", "image_out")
_BUCKETS = (*INPUT_BUCKETS, *OUTPUT_BUCKETS)


class Tier(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Prices once the whole input is longer than `above` tokens; a bucket without one here keeps the price that it has below."""

    above: int
    input: int | None = None
    cached: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    output: int | None = None
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    image_out: int | None = None


class Price(msgspec.Struct, frozen=True, omit_defaults=True):
    """The price of one model: nano-dollars per million units, `per_request` and `per_tool_call` nano-dollars each, limits in tokens
    (None: unknown).

    An empty bucket costs what its parent costs: cached input, cache writes, audio and image in what `input` costs; reasoning, audio and
    image out what `output` costs.
    """

    input: int
    output: int
    cached: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    audio_in: int | None = None
    audio_out: int | None = None
    image_in: int | None = None
    image_out: int | None = None
    per_request: int = 0
    per_tool_call: int = 0
    tiers: tuple[Tier, ...] = ()
    context_limit: int | None = None
    output_limit: int | None = None
    source: str = "operator"

    def of(self, bucket: str, tier: Tier | None = None) -> int:
        """The price of a bucket, within a tier where one is given."""
        parent = "input" if bucket in INPUT_BUCKETS else "output"
        for name in (bucket, parent):
            price: int | None = getattr(tier, name, None)
            if price is None:
                price = getattr(self, name)
            if price is not None:
                return price
        raise ValueError(f"a price without {parent}")  # unreachable: both parents are required

    def tier(self, total_input: int) -> Tier | None:
        """The tier with the highest threshold that an input of so many tokens exceeds."""
        reached = None
        for tier in self.tiers:
            if total_input > tier.above and (reached is None or tier.above > reached.above):
                reached = tier
        return reached


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of a charge: `units` at `price` nano-dollars per `per` units. `numerator` is their exact product in 1e-6 nano-dollars,
    before the ratio."""

    bucket: str
    units: int
    price: int
    per: int
    numerator: int


class Charge(NamedTuple):
    """What a request costs, in nano-dollars, and how it came about. `capped`: the exact amount was above what a single amount may be."""

    amount: int
    lines: tuple[Line, ...]
    ratio_ppm: int
    capped: bool = False


def price_from(values: Mapping[str, Any]) -> Price:
    """A Price of a ModelPrice row's values (its tiers as JSON lists). msgspec.ValidationError where they have another shape."""
    known = {name: values[name] for name in Price.__struct_fields__ if name in values}
    return msgspec.convert(known, Price)


def charge(price: Price, usage: Usage, ratio_ppm: int) -> Charge:
    """The cost of a usage at a price, times a ratio: the exact sum, rounded up once, between 0 and AMOUNT_LIMIT nano-dollars."""
    tier = price.tier(usage.total_input) if price.tiers else None
    lines = []
    for bucket in _BUCKETS:
        units: int = getattr(usage, bucket)
        if units > 0:
            each = price.of(bucket, tier)
            lines.append(Line(bucket, units, each, MILLION, units * each))
    if price.per_request or price.per_tool_call:
        for bucket, units, each in (("requests", usage.requests, price.per_request), ("tool_calls", usage.tool_calls, price.per_tool_call)):
            if units > 0 and each > 0:
                lines.append(Line(bucket, units, each, 1, units * each * MILLION))
    exact = sum([line.numerator for line in lines]) * max(ratio_ppm, 0)
    amount = -(-exact // (MILLION * MILLION))
    return Charge(min(amount, AMOUNT_LIMIT), tuple(lines), ratio_ppm, amount > AMOUNT_LIMIT)


def upstream_cost(price: Price, usage: Usage) -> int:
    """What the upstream will ask of us by its list price, in nano-dollars."""
    return charge(price, usage, MILLION).amount
