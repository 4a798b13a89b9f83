"""What would this cost: the same sum as a charge's, for a usage that somebody thinks of. Pure.

The relay's endpoint, the admin's calculator and `price calculate` read their figures and spell the answer out here.
"""

from collections.abc import Mapping
from typing import Any

from billing.money import format_usd
from billing.price_rules import Terms
from billing.pricing import MILLION, charge, upstream_cost
from wire.usage import Usage

UNITS: tuple[str, ...] = Usage.__struct_fields__
"""What can be counted: tokens by bucket, and calls."""

MOST_UNITS = 10**12


def usage_of(fields: Mapping[str, Any]) -> Usage:
    """A usage of whole numbers by the names in UNITS; missing ones are 0, `requests` 1. ValueError, a sentence, for anything else."""
    counts = {}
    for name in UNITS:
        value = fields.get(name)
        if value is None or value == "":
            continue
        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) < 14 and int(text) <= MOST_UNITS):
            raise ValueError(f"'{name}' must be a whole number between 0 and {MOST_UNITS}.")
        counts[name] = int(text)
    return Usage(**counts)


def quote(terms: Terms, usage: Usage) -> dict[str, Any]:
    """The charge as JSON: in all, and by line. Integers are nano-dollars, `price` is per `per` units, `usd` is decimal text."""
    total = charge(terms.price, usage, terms.ratio_ppm)
    return {
        "amount_nanodollars": total.amount,
        "usd": format_usd(total.amount),
        "ratio_ppm": total.ratio_ppm,
        "price_source": terms.price.source,
        "lines": [
            {"bucket": line.bucket, "units": line.units, "price": line.price, "per": line.per, "usd": _exact(line.numerator)} for line in total.lines
        ],
    }


def quote_inside(terms: Terms, usage: Usage) -> dict[str, Any]:
    """The same with what the upstream will ask, and what is left: for operators."""
    asked = quote(terms, usage)
    cost = upstream_cost(terms.cost, usage)
    margin = asked["amount_nanodollars"] - cost
    return {
        **asked,
        "cost_nanodollars": cost,
        "cost_usd": format_usd(cost),
        "cost_source": terms.cost.source,
        "margin_nanodollars": margin,
        "margin_usd": format_usd(margin),
    }


def _exact(numerator: int) -> str:
    """Parts of 1e-15 dollars as dollars, before the ratio: exact, where a line alone would have to be rounded."""
    whole, rest = divmod(numerator, 10**9 * MILLION)
    return f"{whole}.{rest:015d}".rstrip("0").rstrip(".")
