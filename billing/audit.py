"""Proves from the rows alone that no money was lost or made: balances against entries, limits and charges, counters against charges.

All of it is read in one snapshot, so that it can run beside the relay: REPEATABLE READ on PostgreSQL, one read transaction on SQLite (never
a write lock: a million rows take seconds). It is set-based SQL; both dialects differ only in how the JSON list of balances is unfolded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

BOOKED = "('done', 'partial', 'abandoned')"
"""The endings that are charged; the others cost nothing and raise no counter."""

EXAMPLES = 100
"""Differences listed of each kind; the report says how many there are."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What does not add up: amounts are nano-dollars."""

    check: str
    what: str
    expected: int
    found: int


@dataclass(slots=True)
class Report:
    """The outcome. `journal_pending` counts charges that processes have on disk and not yet in the database: they explain nothing here."""

    charges: int = 0
    charged_nanodollars: int = 0
    balances: int = 0
    counters: int = 0
    journal_pending: int = 0
    differences: list[Difference] = field(default_factory=list)
    unlisted: int = 0

    @property
    def ok(self) -> bool:
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values, `ok` first."""
        return {"ok": self.ok, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Check:
    """A statement that selects what is wrong: (what, expected, found), in a stable order."""

    name: str
    sql: str


def audit() -> Report:
    """Recomputes everything from the rows. Reads only; inside somebody's transaction it sees what that one sees."""
    with snapshot() as cursor:
        report = _sums(cursor)
        for check in (make() for make in CHECKS):
            cursor.execute(f"SELECT count(*) OVER (), wrong.* FROM ({check.sql}) AS wrong ORDER BY 2 LIMIT {EXAMPLES}")  # noqa: S608  of constants
            rows = cursor.fetchall()
            report.differences += [Difference(check.name, str(what), int(expected), int(found)) for _count, what, expected, found in rows]
            report.unlisted += rows[0][0] - len(rows) if rows else 0
    return report


@contextmanager
def snapshot() -> Iterator[CursorWrapper]:
    """Reads only: a cursor whose statements all see the same moment."""
    with connection.cursor() as cursor:
        if connection.in_atomic_block:
            yield cursor
            return
        if connection.vendor == "postgresql":
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = 0")
        else:
            cursor.execute("BEGIN DEFERRED")  # Django's own would be IMMEDIATE and hold up the relay's writer
        try:
            yield cursor
        finally:
            cursor.execute("ROLLBACK")


def _sums(cursor: CursorWrapper) -> Report:
    cursor.execute(
        f"SELECT count(*), COALESCE(sum(amount), 0) FROM billing_usagerecord WHERE type = 'request' AND ended IN {BOOKED}"  # noqa: S608
    )
    charges, charged = cursor.fetchone()
    return Report(
        charges=charges,
        charged_nanodollars=int(charged),
        balances=_number(cursor, "SELECT count(*) FROM billing_balance"),
        counters=_number(cursor, "SELECT count(*) FROM billing_counter"),
        journal_pending=_number(cursor, "SELECT COALESCE(sum(journal_pending), 0) FROM billing_process"),
    )


def _number(cursor: CursorWrapper, sql: str) -> int:
    cursor.execute(sql)
    return int(cursor.fetchone()[0])


def _named() -> str:
    """(balance_id, amount) of every charge, once for each balance that it names."""
    if connection.vendor == "postgresql":
        return (
            "SELECT named.value::bigint AS balance_id, usage.amount AS amount"
            " FROM billing_usagerecord usage, jsonb_array_elements_text(usage.balances) AS named WHERE usage.amount <> 0"
        )
    return (
        "SELECT CAST(named.value AS INTEGER) AS balance_id, usage.amount AS amount"
        " FROM billing_usagerecord usage, json_each(usage.balances) AS named WHERE usage.amount <> 0"
    )


def equation() -> Check:
    """available + leases + holds = entries - charges of a wallet, limit - charges of anything else; and every balance that is named exists."""
    sql = f"""
        SELECT COALESCE(balance.kind || ' ' || balance.subject || CASE balance.period WHEN '' THEN '' ELSE ' ' || balance.period END,
            'no balance ' || sums.balance_id) AS what, sums.expected, sums.found
        FROM (
            SELECT balance_id, sum(expected) AS expected, sum(found) AS found FROM (
                SELECT id AS balance_id, COALESCE("limit", 0) AS expected, available AS found FROM billing_balance
                UNION ALL SELECT balance_id, amount, 0 FROM billing_ledgerentry
                UNION ALL SELECT balance_id, -amount, 0 FROM ({_named()}) AS named
                UNION ALL SELECT balance_id, 0, remaining FROM billing_lease
                UNION ALL SELECT balance_id, 0, amount FROM billing_hold
            ) AS moves GROUP BY balance_id HAVING sum(expected) <> sum(found)
        ) AS sums LEFT JOIN billing_balance balance ON balance.id = sums.balance_id
    """  # noqa: S608  of constants
    return Check("equation", sql)


def counters() -> Check:
    """The counters of users, tokens and channels are the sums and numbers of the records that ended done, partial or abandoned."""
    # One pass over the charges: there are far fewer different (user, token, channel) than records.
    uses = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, {kind}_id AS subject, amount, requests, 0 AS counted_amount, 0 AS counted_requests FROM charged"  # noqa: S608
        for kind in ("user", "token", "channel")
    )
    sql = f"""
        WITH charged AS MATERIALIZED (
            SELECT user_id, token_id, channel_id, sum(amount) AS amount, count(*) AS requests FROM billing_usagerecord
            WHERE type = 'request' AND ended IN {BOOKED} GROUP BY user_id, token_id, channel_id
        ), sums AS MATERIALIZED (
            SELECT kind, subject, sum(amount) AS amount, sum(requests) AS requests, sum(counted_amount) AS counted_amount,
                sum(counted_requests) AS counted_requests
            FROM ({uses} UNION ALL SELECT kind, subject, 0, 0, amount, requests FROM billing_counter) AS both_sides GROUP BY kind, subject
        )
        SELECT 'amount of ' || kind || ' ' || subject AS what, amount AS expected, counted_amount AS found FROM sums WHERE amount <> counted_amount
        UNION ALL SELECT 'requests of ' || kind || ' ' || subject, requests, counted_requests FROM sums WHERE requests <> counted_requests
    """  # noqa: S608  of constants
    return Check("counter", sql)


def dead_leases() -> Check:
    """No fenced or unknown process has a lease: its money would be lost to everybody."""
    return Check(
        "lease of a process that is gone",
        """SELECT lease.boot_id || ' of balance ' || lease.balance_id AS what, 0 AS expected, lease.remaining AS found FROM billing_lease lease
        LEFT JOIN billing_process process ON process.boot_id = lease.boot_id WHERE process.id IS NULL OR process.fenced""",
    )


def unowned_holds() -> Check:
    """Money is set aside only for a job."""
    return Check(
        "hold without a job",
        "SELECT CAST(hold_id AS text) AS what, 0 AS expected, amount AS found FROM billing_hold WHERE job = ''",
    )


def absurd_charges() -> Check:
    """What failed or was a test costs nothing, no number is negative, and no refund is above its charge."""
    return Check(
        "absurd charge",
        f"""SELECT CAST(id AS text) AS what, 0 AS expected, amount AS found FROM billing_usagerecord
        WHERE (amount <> 0 AND (type <> 'request' OR ended NOT IN {BOOKED}))
        OR amount < 0 OR upstream_cost < 0 OR input_tokens < 0 OR output_tokens < 0 OR refunded < 0 OR refunded > amount""",  # noqa: S608
    )


def doubles() -> Check:
    """No charge is booked twice: on PostgreSQL the key holds (at, id), so that one id could stand at two times."""
    return Check(
        "charge booked twice",
        "SELECT CAST(id AS text) AS what, 1 AS expected, count(*) AS found FROM billing_usagerecord GROUP BY id HAVING count(*) > 1",
    )


def refunds() -> Check:
    """What charges say was refunded is what the entries of refunds gave back."""
    return Check(
        "refund",
        """SELECT CAST(charge AS text) AS what, sum(expected) AS expected, sum(found) AS found FROM (
            SELECT id AS charge, 0 AS expected, refunded AS found FROM billing_usagerecord WHERE refunded <> 0
            UNION ALL SELECT charge, amount, 0 FROM billing_ledgerentry WHERE act = 'refund' AND charge IS NOT NULL
        ) AS both_sides GROUP BY charge HAVING sum(expected) <> sum(found)""",
    )


def redeemed_codes() -> Check:
    """Each redeemed code has its entry, and each entry of a code is worth what the code is."""
    return Check(
        "redeem code",
        """SELECT 'code ' || code.id AS what, code.amount AS expected, COALESCE(entry.amount, 0) AS found FROM billing_redeemcode code
        LEFT JOIN billing_ledgerentry entry ON entry.idempotency_key = 'redeem:' || code.id
        WHERE (code.redeemed_by_id IS NOT NULL AND (entry.id IS NULL OR entry.amount <> code.amount))
        OR (code.redeemed_by_id IS NULL AND entry.id IS NOT NULL)""",
    )


CHECKS: tuple[Callable[[], Check], ...] = (
    equation,
    counters,
    dead_leases,
    unowned_holds,
    absurd_charges,
    doubles,
    refunds,
    redeemed_codes,
)
