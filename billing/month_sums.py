"""What checkpoints hold: charges a balance that they name, amounts and requests a user, token and channel; set-based SQL over rows of the usage log.

The ledger adds late charges by the same rule, one by one: `_shares` in billing/ledger/store.py.
"""

from django.db import connection

from billing.ledger.statements import BOOKED

WHO = ("user", "token", "channel")


def named(where: str) -> str:
    """SELECT (balance_id, amount) of every charge, once for each balance that it names; `where` is a condition on `usage`."""
    if connection.vendor == "postgresql":
        value, unfolded = "named.value::bigint", "jsonb_array_elements_text(usage.balances)"
    else:
        value, unfolded = "CAST(named.value AS INTEGER)", "json_each(usage.balances)"
    return (
        f"SELECT {value} AS balance_id, usage.amount AS amount FROM billing_usagerecord usage, {unfolded} AS named"  # noqa: S608  of constants
        f" WHERE usage.amount <> 0 AND {where}"
    )


def counted(where: str) -> str:
    """SELECT (user_id, token_id, channel_id, amount, requests) of the charges that raise counters, grouped; there are far fewer than records."""
    return (
        "SELECT user_id, token_id, channel_id, sum(usage.amount) AS amount, count(*) AS requests"  # noqa: S608  of constants
        f" FROM billing_usagerecord usage WHERE usage.type = 'request' AND usage.ended IN {BOOKED} AND {where}"
        " GROUP BY user_id, token_id, channel_id"
    )


def month_sums(where: str) -> str:
    """SELECT (kind, subject, charges, requests): the checkpoints that these rows make."""
    uses = " UNION ALL ".join(f"SELECT '{kind}' AS kind, {kind}_id AS subject, amount, requests FROM counted" for kind in WHO)  # noqa: S608
    return (
        f"WITH counted AS MATERIALIZED ({counted(where)}) SELECT kind, subject, sum(amount) AS charges, sum(requests) AS requests"  # noqa: S608
        f" FROM (SELECT 'balance' AS kind, balance_id AS subject, amount, 1 AS requests FROM ({named(where)}) AS named UNION ALL {uses}) AS shares"
        " GROUP BY kind, subject"
    )
