"""The balance as chat clients ask for it: OpenAI's old dashboard endpoints, which one-api and its forks still serve.

NextChat reads `hard_limit_usd` (dollars, remaining and used together) and `total_usage` (cents). These are the only floats in the project's
money, and nothing is computed from them.
"""

from typing import NamedTuple

import msgspec

NANO = 1_000_000_000
UNLIMITED_USD = 100_000_000


class Account(NamedTuple):
    """Nano-dollars; `expires_at` is Unix time, 0 for never."""

    remaining: int
    used: int
    unlimited: bool
    expires_at: int


def subscription(account: Account) -> bytes:
    """`GET /dashboard/billing/subscription`."""
    limit = UNLIMITED_USD if account.unlimited else (account.remaining + account.used) / NANO
    return msgspec.json.encode(
        {
            "object": "billing_subscription",
            "has_payment_method": True,
            "soft_limit_usd": limit,
            "hard_limit_usd": limit,
            "system_hard_limit_usd": limit,
            "access_until": account.expires_at,
        }
    )


def usage(account: Account) -> bytes:
    """`GET /dashboard/billing/usage`: since ever, as one-api has it; dates in the query are ignored."""
    return msgspec.json.encode({"object": "list", "total_usage": account.used * 100 / NANO})
