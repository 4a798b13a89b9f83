"""A charge is the exact sum of units x price x ratio, rounded up once."""

import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from billing.money import AMOUNT_LIMIT
from billing.pricing import INPUT_BUCKETS, MILLION, OUTPUT_BUCKETS, Price, Tier, charge, price_from, upstream_cost
from wire.usage import Usage

BUCKETS = (*INPUT_BUCKETS, *OUTPUT_BUCKETS)
prices_of_a_bucket = st.integers(0, 10**12)
optional = {name: st.none() | prices_of_a_bucket for name in BUCKETS if name not in ("input", "output")}
tiers = st.lists(
    st.builds(Tier, above=st.integers(0, 10**6), input=st.none() | prices_of_a_bucket, output=st.none() | prices_of_a_bucket, **optional), max_size=3
).map(tuple)
prices = st.builds(
    Price,
    input=prices_of_a_bucket,
    output=prices_of_a_bucket,
    per_request=st.integers(0, 10**9),
    per_tool_call=st.integers(0, 10**9),
    tiers=tiers,
    **optional,
)
usages = st.builds(Usage, **dict.fromkeys(BUCKETS, st.integers(0, 10**6)), tool_calls=st.integers(0, 100), requests=st.integers(0, 3))
ratios = st.integers(0, 100 * MILLION)


def exact(price: Price, usage: Usage, ratio_ppm: int) -> Fraction:
    """The cost in nano-dollars, by another road."""
    tier = max((one for one in price.tiers if usage.total_input > one.above), key=lambda one: one.above, default=None)
    total = Fraction(usage.requests * price.per_request + usage.tool_calls * price.per_tool_call)
    for name in BUCKETS:
        parent = "input" if name in INPUT_BUCKETS else "output"
        candidates = [getattr(tier, name, None), getattr(price, name), getattr(tier, parent, None), getattr(price, parent)]
        total += Fraction(getattr(usage, name) * next(one for one in candidates if one is not None), MILLION)
    return total * Fraction(ratio_ppm, MILLION)


@given(prices, usages, ratios)
def test_it_is_exact_and_rounded_up_once(price: Price, usage: Usage, ratio: int) -> None:
    # Given tiers whose thresholds differ: of two at one threshold either may count.
    assume(len({tier.above for tier in price.tiers}) == len(price.tiers))

    found = charge(price, usage, ratio)

    assert found.amount == min(math.ceil(exact(price, usage, ratio)), AMOUNT_LIMIT)
    assert found.capped == (exact(price, usage, ratio) > AMOUNT_LIMIT)


@given(prices, usages, ratios)
def test_it_is_never_negative_and_its_lines_add_up(price: Price, usage: Usage, ratio: int) -> None:
    found = charge(price, usage, ratio)

    assert 0 <= found.amount <= AMOUNT_LIMIT
    assert all(line.numerator == line.units * line.price * (MILLION // line.per) for line in found.lines)
    if not found.capped:
        assert found.amount == math.ceil(Fraction(sum(line.numerator for line in found.lines) * ratio, MILLION * MILLION))


@given(prices.map(lambda price: msgspec.structs.replace(price, tiers=())), usages, ratios, st.sampled_from(BUCKETS), st.integers(1, 1000))
def test_more_never_costs_less(price: Price, usage: Usage, ratio: int, bucket: str, more: int) -> None:
    bigger = msgspec.structs.replace(usage, **{bucket: getattr(usage, bucket) + more})

    assert charge(price, bigger, ratio).amount >= charge(price, usage, ratio).amount
    assert charge(price, usage, ratio + more).amount >= charge(price, usage, ratio).amount


def test_the_price_of_a_tier_counts_only_above_its_threshold() -> None:
    price = Price(input=1_000_000, output=2_000_000, cached=500_000, tiers=(Tier(above=100, input=3_000_000),))

    assert charge(price, Usage(input=100), MILLION).amount == 100
    assert charge(price, Usage(input=101), MILLION).amount == 303
    # A bucket without a price in the tier keeps its own; one that has none at all follows its parent into the tier.
    assert charge(price, Usage(cached=200), MILLION).amount == 100
    assert charge(price, Usage(image_in=200), MILLION).amount == 600


def test_a_charge_above_a_million_dollars_is_capped_and_says_so() -> None:
    found = charge(Price(input=10**15, output=0), Usage(input=2_000_000), MILLION)

    assert (found.amount, found.capped) == (AMOUNT_LIMIT, True)


def test_a_group_may_be_free_and_the_upstream_still_costs() -> None:
    price, usage = Price(input=150_000_000, output=600_000_000), Usage(input=20, output=15)

    assert charge(price, usage, 0).amount == 0
    assert upstream_cost(price, usage) == 12_000


def test_a_row_of_the_price_table_becomes_a_price() -> None:
    row = {"id": 7, "model": "m", "input": 5, "output": 6, "cached": None, "tiers": [{"above": 10, "output": 8}], "source": "operator"}

    price = price_from(row)

    assert (price.input, price.output, price.tiers) == (5, 6, (Tier(above=10, output=8),))


@pytest.mark.parametrize("tiers", [[{"above": 1, "inptu": 2}], [{"input": 2}], [{"above": "x"}], "none"])
def test_tiers_of_another_shape_are_refused(tiers: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        price_from({"input": 1, "output": 1, "tiers": tiers})
