"""Nano-dollars (1e-9 USD) at the edge: what people and other programs write becomes an exact integer here, and back.

Everything inside counts in integers; a text that is no exact number of nano-dollars is refused, never rounded.
one-api's "quota" (500,000 = 1 USD) exists only in its compatible API: https://github.com/songquanpeng/one-api#readme
"""

import re
from decimal import Decimal

NANO = 10**9
"""Nano-dollars of a dollar."""

AMOUNT_LIMIT = 10**15
"""The largest single amount, in nano-dollars: a million dollars (also a CHECK of the database)."""

QUOTA_PER_USD = 500_000
NANO_PER_QUOTA = NANO // QUOTA_PER_USD

_PLAIN = re.compile(r"[+-]?\d{1,12}(\.\d{0,30})?|[+-]?\.\d{1,30}", re.ASCII)


def parse_usd(value: str | Decimal | int) -> int:
    """Dollars as nano-dollars, exactly: "1.25" → 1250000000. A leading `$` and thousands' commas are not accepted.

    ValueError (its text is a sentence for people): no plain decimal number, finer than a nano-dollar, or above a million dollars either
    way.
    """
    if isinstance(value, int):
        nano = value * NANO
    else:
        text = value.strip() if isinstance(value, str) else format(value, "f")
        if not _PLAIN.fullmatch(text):
            raise ValueError(f"{text[:40]!r} is no amount in US dollars such as 1.25.")
        sign, text = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
        whole, _, fraction = text.partition(".")
        fraction = fraction.rstrip("0")
        if len(fraction) > 9:
            raise ValueError(f"{text[:40]} is finer than a nano-dollar: at most 9 decimals are kept.")
        nano = sign * (int(whole or "0") * NANO + int(fraction.ljust(9, "0")))
    if abs(nano) > AMOUNT_LIMIT:
        raise ValueError("An amount is at most 1,000,000 US dollars.")
    return nano


def to_usd(nano: int) -> Decimal:
    """Nano-dollars as an exact Decimal of dollars."""
    return Decimal(nano).scaleb(-9)


def format_usd(nano: int, decimals: int = 2) -> str:
    """Nano-dollars as dollars, exactly, with at least `decimals` and at most 9 decimals: 1250000000 → "1.25", 1 → "0.000000001"."""
    sign = "-" if nano < 0 else ""
    whole, rest = divmod(abs(nano), NANO)
    fraction = f"{rest:09d}".rstrip("0").ljust(decimals, "0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def to_quota(nano: int) -> int:
    """Nano-dollars as one-api's quota, rounded down: a client is never told of money that is not there."""
    return nano // NANO_PER_QUOTA


def from_quota(quota: int) -> int:
    """one-api's quota as nano-dollars, exactly. ValueError above a million dollars either way."""
    nano = quota * NANO_PER_QUOTA
    if abs(nano) > AMOUNT_LIMIT:
        raise ValueError("A quota is at most 500,000,000,000, a million US dollars.")
    return nano
