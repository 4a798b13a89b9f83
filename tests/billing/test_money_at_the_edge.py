"""Dollars and one-api's quota become integers exactly, or not at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.money import AMOUNT_LIMIT, format_usd, from_quota, parse_usd, to_quota, to_usd

amounts = st.integers(-AMOUNT_LIMIT, AMOUNT_LIMIT)


@given(amounts)
def test_what_is_formatted_is_read_back(nano: int) -> None:
    assert parse_usd(format_usd(nano)) == parse_usd(to_usd(nano)) == nano


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("5", 5 * 10**9),
        ("1.25", 1_250_000_000),
        (" 0.000000001 ", 1),
        ("-1.50", -1_500_000_000),
        (".5", 500_000_000),
        ("1.2500000000000", 1_250_000_000),
    ],
)
def test_dollars_are_read_exactly(text: str, nano: int) -> None:
    assert parse_usd(text) == nano


@pytest.mark.parametrize("text", ["", "x", "1e3", "nan", "inf", "1,5", "0.0000000001", "1000000.000000001", "٣", "1.2.3", "--1", "9" * 5000])
def test_what_is_no_exact_amount_is_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        parse_usd(text)


def test_decimals_and_whole_dollars_are_read_too() -> None:
    assert parse_usd(Decimal("1E+2")) == parse_usd(100) == 100 * 10**9


def test_amounts_are_shown_with_cents_and_as_many_digits_as_they_have() -> None:
    assert [format_usd(nano) for nano in (0, 10**9, 1_250_000_000, 12_000, -5 * 10**8)] == ["0.00", "1.00", "1.25", "0.000012", "-0.50"]


def test_quota_is_half_a_million_to_the_dollar_and_rounded_down() -> None:
    assert (to_quota(10**9), to_quota(1999), to_quota(-1), from_quota(500_000)) == (500_000, 0, -1, 10**9)
    with pytest.raises(ValueError, match="million"):
        from_quota(10**12)
