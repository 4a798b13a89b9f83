"""Proves from the rows alone that no money was lost or made: balances against entries, limits and charges, counters against charges.

All of it is read in one snapshot, so that it can run beside the relay: REPEATABLE READ on PostgreSQL, one read transaction on SQLite (never
a write lock: a million rows take seconds). It is set-based SQL; both dialects differ only in how the JSON list of balances is unfolded.

It starts from the checkpoints of closed months, and reads the rows of the others; `full` reads every row that is still there, holds it
against the checkpoints, and takes these only for months that were pruned.
"""

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import connection
from django.db.backends.utils import CursorWrapper

from billing.budgets import calendar
from billing.clock import database_time
from billing.ledger.statements import BOOKED
from billing.models import BUDGET_KINDS, ClosedMonth
from billing.month_sums import WHO, counted, month_sums, named
from billing.months import kept_from, last_closed, literal
from billing.partitions import month_after
from billing.periods import period_of

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
    """The outcome. Months up to `closed_until` count by their checkpoints; "" where none does.

    `journal_pending` counts charges that processes have on disk and not yet in the database: they explain nothing here.
    """

    full: bool = False
    closed_until: str = ""
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


@dataclass(frozen=True, slots=True)
class Span:
    """Which months count by their checkpoints, `closed` the last of them, and which by rows: conditions on tables named `usage` and `checkpoint`."""

    closed: datetime.date | None
    kept_from: datetime.date | None

    @property
    def rows(self) -> str:
        """The rows of the usage log that count."""
        return _since(month_after(self.closed) if self.closed else None)

    @property
    def kept(self) -> str:
        """Those that were not pruned: between the moment when a month is pruned and that when its last row is gone some are still there."""
        return _since(self.kept_from)

    @property
    def checkpoints(self) -> str:
        """The checkpoints that count instead of the other rows."""
        return f"checkpoint.month <= '{self.closed}'" if self.closed else "FALSE"


def _since(month: datetime.date | None) -> str:
    return f"usage.at >= {literal(month)}" if month else "TRUE"


def audit(*, full: bool = False) -> Report:
    """Recomputes everything. Reads only; inside somebody's transaction it sees what that one sees."""
    with snapshot() as cursor:
        kept = kept_from()
        span = Span(month_after(kept, -1) if full and kept else None if full else last_closed(), kept)
        report = _sums(cursor, span)
        report.full = full
        checks = [make(span) for make in CHECKS]
        for check in checks + (checkpoints(span) if full else []):
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


def _sums(cursor: CursorWrapper, span: Span) -> Report:
    # Each charge has one channel: its checkpoints are the sums of whole months.
    cursor.execute(
        f"SELECT sum(charges), sum(amount) FROM (SELECT count(*) AS charges, COALESCE(sum(amount), 0) AS amount FROM billing_usagerecord usage"  # noqa: S608
        f" WHERE type = 'request' AND ended IN {BOOKED} AND {span.rows} UNION ALL SELECT COALESCE(sum(requests), 0), COALESCE(sum(charges), 0)"
        f" FROM billing_checkpoint checkpoint WHERE kind = 'channel' AND {span.checkpoints}) AS parts"
    )
    charges, charged = cursor.fetchone()
    return Report(
        closed_until=f"{span.closed:%Y-%m}" if span.closed else "",
        charges=int(charges),
        charged_nanodollars=int(charged),
        balances=_number(cursor, "SELECT count(*) FROM billing_balance"),
        counters=_number(cursor, "SELECT count(*) FROM billing_counter"),
        journal_pending=_number(cursor, "SELECT COALESCE(sum(journal_pending), 0) FROM billing_process"),
    )


def _number(cursor: CursorWrapper, sql: str) -> int:
    cursor.execute(sql)
    return int(cursor.fetchone()[0])


def equation(span: Span) -> Check:
    """available + leases + holds = entries - charges of a wallet, limit - charges of anything else; and every balance that is named exists."""
    sql = f"""
        SELECT COALESCE(balance.kind || ' ' || balance.subject || CASE balance.period WHEN '' THEN '' ELSE ' ' || balance.period END,
            'no balance ' || sums.balance_id) AS what, sums.expected, sums.found
        FROM (
            SELECT balance_id, sum(expected) AS expected, sum(found) AS found FROM (
                SELECT id AS balance_id, COALESCE("limit", 0) AS expected, available AS found FROM billing_balance
                UNION ALL SELECT balance_id, amount, 0 FROM billing_ledgerentry
                UNION ALL SELECT balance_id, -amount, 0 FROM ({named(span.rows)}) AS named
                UNION ALL SELECT subject, -charges, 0 FROM billing_checkpoint checkpoint WHERE kind = 'balance' AND {span.checkpoints}
                UNION ALL SELECT balance_id, 0, remaining FROM billing_lease
                UNION ALL SELECT balance_id, 0, amount FROM billing_hold
            ) AS moves GROUP BY balance_id HAVING sum(expected) <> sum(found)
        ) AS sums LEFT JOIN billing_balance balance ON balance.id = sums.balance_id
    """  # noqa: S608  of constants
    return Check("equation", sql)


def budgets(_span: Span) -> Check:
    """The balance of a period under way has the limit that its budget says; that of a past one may have another."""
    running = calendar().running(database_time())
    under_way = " OR ".join(f"balance.kind = '{kind}' AND balance.period >= '{running[period_of(kind)].first}'" for kind in BUDGET_KINDS)
    return Check(
        "budget",
        f"""SELECT balance.kind || ' ' || balance.subject || ' ' || balance.period AS what, budget."limit" AS expected, balance."limit" AS found
        FROM billing_budget budget JOIN billing_balance balance ON balance.kind = budget.kind AND balance.subject = budget.subject
        WHERE balance."limit" <> budget."limit" AND ({under_way})""",  # noqa: S608  of constants
    )


def counters(span: Span) -> Check:
    """The counters of users, tokens and channels are the sums and numbers of the records that ended done, partial or abandoned."""
    # One pass over the charges: there are far fewer different (user, token, channel) than records.
    uses = " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, {kind}_id AS subject, amount, requests, 0 AS counted_amount, 0 AS counted_requests FROM charged"  # noqa: S608
        for kind in WHO
    )
    sql = f"""
        WITH charged AS MATERIALIZED ({counted(span.rows)}), sums AS MATERIALIZED (
            SELECT kind, subject, sum(amount) AS amount, sum(requests) AS requests, sum(counted_amount) AS counted_amount,
                sum(counted_requests) AS counted_requests
            FROM (
                {uses} UNION ALL SELECT kind, subject, 0, 0, amount, requests FROM billing_counter
                UNION ALL SELECT kind, subject, charges, requests, 0, 0 FROM billing_checkpoint checkpoint
                WHERE kind IN {WHO} AND {span.checkpoints}
            ) AS both_sides GROUP BY kind, subject
        )
        SELECT 'amount of ' || kind || ' ' || subject AS what, amount AS expected, counted_amount AS found FROM sums WHERE amount <> counted_amount
        UNION ALL SELECT 'requests of ' || kind || ' ' || subject, requests, counted_requests FROM sums WHERE requests <> counted_requests
    """  # noqa: S608  of constants
    return Check("counter", sql)


def checkpoints(span: Span) -> list[Check]:
    """What the rows of each closed month say, where they are still there, is what its checkpoints say."""
    months = list(ClosedMonth.objects.order_by("month").values_list("month", flat=True))
    kept = [month for month in months if span.kept_from is None or month >= span.kept_from]
    return [checkpoints_of(month, None if month == months[0] else month) for month in kept]


def checkpoints_of(month: datetime.date, since: datetime.date | None) -> Check:
    """The same of one month; its rows begin at `since`, and the first month's (None) with the oldest."""
    sums = month_sums(f"{_since(since)} AND usage.at < {literal(month_after(month))}")
    sql = f"""
        SELECT '{month:%Y-%m} ' || kind || ' ' || subject AS what, sum(expected) AS expected, sum(found) AS found FROM (
            SELECT kind, subject, charges AS expected, 0 AS found, requests AS counted FROM ({sums}) AS sums
            UNION ALL SELECT kind, subject, 0, charges, -requests FROM billing_checkpoint WHERE month = '{month}'
        ) AS both_sides GROUP BY kind, subject HAVING sum(expected) <> sum(found) OR sum(counted) <> 0
    """  # noqa: S608  of constants
    return Check("checkpoint", sql)


def dead_leases(_span: Span) -> Check:
    """No fenced or unknown process has a lease: its money would be lost to everybody."""
    return Check(
        "lease of a process that is gone",
        """SELECT lease.boot_id || ' of balance ' || lease.balance_id AS what, 0 AS expected, lease.remaining AS found FROM billing_lease lease
        LEFT JOIN billing_process process ON process.boot_id = lease.boot_id WHERE process.id IS NULL OR process.fenced""",
    )


def unowned_holds(_span: Span) -> Check:
    """Money is set aside only for a job."""
    return Check(
        "hold without a job",
        "SELECT CAST(hold_id AS text) AS what, 0 AS expected, amount AS found FROM billing_hold WHERE job = ''",
    )


def forgotten_holds(_span: Span) -> Check:
    """What was set aside goes back at its deadline; a day later somebody has forgotten it."""
    ago = "clock_timestamp() - interval '1 day'" if connection.vendor == "postgresql" else "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day')"
    return Check(
        "hold past its deadline",
        f"SELECT CAST(hold_id AS text) AS what, 0 AS expected, amount AS found FROM billing_hold WHERE deadline < {ago}",  # noqa: S608
    )


def absurd_charges(span: Span) -> Check:
    """What failed or was a test costs nothing, no number is negative, and no refund is above its charge."""
    return Check(
        "absurd charge",
        f"""SELECT CAST(id AS text) AS what, 0 AS expected, amount AS found FROM billing_usagerecord usage
        WHERE {span.rows} AND ((amount <> 0 AND (type <> 'request' OR ended NOT IN {BOOKED}))
        OR amount < 0 OR upstream_cost < 0 OR input_tokens < 0 OR output_tokens < 0 OR refunded < 0 OR refunded > amount)""",  # noqa: S608
    )


def doubles(span: Span) -> Check:
    """No charge is booked twice: on PostgreSQL the key holds (at, id), so that one id could stand at two times."""
    return Check(
        "charge booked twice",
        f"SELECT CAST(id AS text) AS what, 1 AS expected, count(*) AS found FROM billing_usagerecord usage WHERE {span.rows}"  # noqa: S608
        " GROUP BY id HAVING count(*) > 1",
    )


def refunds(span: Span) -> Check:
    """What charges say was refunded is what the entries of refunds gave back; of pruned months the sum is left."""
    sql = f"""
        WITH refunded AS MATERIALIZED (SELECT id, refunded FROM billing_usagerecord usage WHERE refunded > 0 AND {span.kept}),
        given AS MATERIALIZED (
            SELECT charge, sum(amount) AS amount FROM billing_ledgerentry WHERE act = 'refund' AND charge IS NOT NULL GROUP BY charge
        )
        SELECT CAST(refunded.id AS text) AS what, refunded.refunded AS expected, COALESCE(given.amount, 0) AS found
        FROM refunded LEFT JOIN given ON given.charge = refunded.id WHERE COALESCE(given.amount, 0) <> refunded.refunded
        UNION ALL SELECT 'of charges that are gone' AS what, pruned.amount AS expected, gone.amount AS found
        FROM (SELECT COALESCE(sum(refunded), 0) AS amount FROM billing_closedmonth WHERE pruned_at IS NOT NULL) AS pruned,
        (SELECT COALESCE(sum(given.amount), 0) AS amount FROM given
            WHERE NOT EXISTS (SELECT 1 FROM refunded WHERE refunded.id = given.charge)) AS gone
        WHERE pruned.amount <> gone.amount
    """  # noqa: S608  of constants
    return Check("refund", sql)


def redeemed_codes(_span: Span) -> Check:
    """Each redeemed code has its entry, and each entry of a code is worth what the code is."""
    return Check(
        "redeem code",
        """SELECT 'code ' || code.id AS what, code.amount AS expected, COALESCE(entry.amount, 0) AS found FROM billing_redeemcode code
        LEFT JOIN billing_ledgerentry entry ON entry.idempotency_key = 'redeem:' || code.id
        WHERE (code.redeemed_by_id IS NOT NULL AND (entry.id IS NULL OR entry.amount <> code.amount))
        OR (code.redeemed_by_id IS NULL AND entry.id IS NOT NULL)""",
    )


CHECKS: tuple[Callable[[Span], Check], ...] = (
    equation,
    budgets,
    counters,
    dead_leases,
    unowned_holds,
    forgotten_holds,
    absurd_charges,
    doubles,
    refunds,
    redeemed_codes,
)
