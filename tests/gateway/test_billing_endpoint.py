"""The balance as NextChat reads it: `hard_limit_usd` in dollars, all there ever was, and `total_usage` in cents."""

import msgspec

from gateway.endpoints.billing_compat import Account, subscription, usage

USD = 10**9


def test_the_limit_is_what_remains_and_what_was_used() -> None:
    answer = msgspec.json.decode(subscription(Account(remaining=9 * USD, used=3_456_780_000, unlimited=False, expires_at=1_800_000_000)))

    assert answer == {
        "object": "billing_subscription",
        "has_payment_method": True,
        "soft_limit_usd": 12.45678,
        "hard_limit_usd": 12.45678,
        "system_hard_limit_usd": 12.45678,
        "access_until": 1_800_000_000,
    }


def test_usage_is_in_cents() -> None:
    answer = msgspec.json.decode(usage(Account(remaining=0, used=3_456_780_000, unlimited=False, expires_at=0)))

    assert answer == {"object": "list", "total_usage": 345.678}


def test_without_a_limit_the_figure_is_one_apis() -> None:
    answer = msgspec.json.decode(subscription(Account(remaining=0, used=USD, unlimited=True, expires_at=0)))

    assert answer["hard_limit_usd"] == 100_000_000
    assert answer["access_until"] == 0


def test_a_balance_of_nothing_is_a_number() -> None:
    nothing = Account(remaining=0, used=0, unlimited=False, expires_at=0)

    assert msgspec.json.decode(subscription(nothing))["hard_limit_usd"] == 0
    assert msgspec.json.decode(usage(nothing))["total_usage"] == 0
