"""A balance's statement: everything that changed it, by time, with the balance after each line.

A wallet's lines are its entries and the charges that name it; a limit's are the limit at its creation, its changes, and the charges that name
it (docs/ledger.md §1). After the last line stands what the audit computes. Amounts are nano-dollars. Of a month whose rows were pruned there is
one line, the sum that its checkpoint kept, at the month's last moment.

A charge stands at its request's admission, so that one that is under way may still add itself above lines that are there already. Nothing is
added up in Python: a page is two statements, the sum of all that lies before it and a window over its own lines, in one snapshot.
"""

import datetime
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.utils.translation import gettext_lazy as _

from billing.audit import snapshot
from billing.models import Balance, Kind, LedgerEntry, LimitChange
from billing.months import kept_from, literal

CHARGE = "charge"
CREATED = "limit"
"""The kind of a limit's first line: what the token was given at its creation."""

PRUNED = "month"
"""The kind of a pruned month's line."""

CHARGES: dict[str, Any] = {CHARGE: _("charge"), PRUNED: _("charges of an archived month")}
WALLET_KINDS: dict[str, Any] = {**CHARGES, **dict(LedgerEntry.Act.choices)}
LIMIT_KINDS: dict[str, Any] = {**CHARGES, CREATED: _("limit at its creation"), **dict(LimitChange.Act.choices)}

NO_ID, NO_TEXT = "CAST(NULL AS bigint)", "CAST(NULL AS text)"

BATCH = 1000
"""Lines read at a time where a whole statement is wanted."""


class Key(NamedTuple):
    """Where a line stands: by time, then by source and number (charges: by id), so that no two lines are equal."""

    at: datetime.datetime
    source: int
    number: int
    charge: str


@dataclass(frozen=True, slots=True)
class Line:
    """One change of a balance. `model`, `token_id` and `charge` (its id) are those of charges, and `charge` also a refund's."""

    key: Key
    kind: str
    amount: int
    balance: int
    model: str
    token_id: int | None
    charge: uuid.UUID | None
    author_id: int | None
    reason: str
    reference: str

    @property
    def at(self) -> datetime.datetime:
        """When."""
        return self.key.at


@dataclass(frozen=True, slots=True)
class Period:
    """`start` inclusive, `end` exclusive; None: without a bound."""

    start: datetime.datetime | None = None
    end: datetime.datetime | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which lines are shown; the balance after each counts them all. Empty: every one."""

    kind: str = ""
    model: str = ""
    token_id: int | None = None

    def let(self, line: Line) -> bool:
        """Whether this line is shown."""
        return self.kind in ("", line.kind) and self.model in ("", line.model) and (self.token_id is None or self.token_id == line.token_id)


@dataclass(slots=True)
class Page:
    """Lines, the newest first; `older` begins the next page. `opening` and `closing` are the balance's at the period's ends."""

    opening: int
    closing: int
    lines: list[Line] = field(default_factory=list)
    older: Key | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Conditions on the place of a line, for every branch of the union and for the union itself."""

    period: Period
    after: Key | None = None
    since: Key | None = None
    before: Key | None = None


def page(balance: Balance, period: Period, filters: Filters, *, before: Key | None = None, size: int = 50) -> Page:
    """The newest `size` lines of the period that the filters let through, older than `before`."""
    with snapshot() as cursor:
        opening = 0 if period.start is None else _total(cursor, balance, Period(None, period.start))
        found = Page(opening, opening + _total(cursor, balance, period))
        keys = _keys(cursor, balance, Bounds(period, before=before), filters, size + 1)
        if len(keys) > size:
            found.older = keys[size - 1]
        if keys:
            oldest = keys[:size][-1]
            earlier = opening + _total(cursor, balance, period, before=oldest)
            within = _lines(cursor, balance, Bounds(period, since=oldest, before=before), earlier)
            found.lines = [line for line in reversed(within) if filters.let(line)]
        return found


def closing(balance: Balance, period: Period) -> tuple[int, int]:
    """The balance at the period's start and at its end."""
    with snapshot() as cursor:
        opening = 0 if period.start is None else _total(cursor, balance, Period(None, period.start))
        return opening, opening + _total(cursor, balance, period)


def every_line(balance: Balance, period: Period, filters: Filters) -> Iterator[Line]:
    """All lines of the period that the filters let through, the oldest first, read in batches: a statement may be long.

    RuntimeError where a month was pruned meanwhile: its lines would be missing, or counted twice.
    """
    kept = kept_from()
    with connection.cursor() as cursor:
        carried = 0 if period.start is None else _total(cursor, balance, Period(None, period.start))
    after: Key | None = None
    while True:
        with connection.cursor() as cursor:
            batch = _lines(cursor, balance, Bounds(period, after=after), carried, limit=BATCH)
        if kept_from() != kept:
            raise RuntimeError("A month was pruned while its statement was read.")
        yield from (line for line in batch if filters.let(line))
        if len(batch) < BATCH:
            return
        after, carried = batch[-1].key, batch[-1].balance


def _total(cursor: CursorWrapper, balance: Balance, period: Period, *, before: Key | None = None) -> int:
    """The sum of the period's lines, those older than `before`."""
    union, values = _union(balance, Bounds(period, before=before))
    cursor.execute(f"SELECT COALESCE(sum(amount), 0) FROM ({union}) AS moves", values)  # noqa: S608  of constants
    return int(cursor.fetchone()[0])


def _keys(cursor: CursorWrapper, balance: Balance, bounds: Bounds, filters: Filters, count: int) -> list[Key]:
    """The newest places of lines that the filters let through."""
    union, values = _union(balance, bounds)
    conditions, more = ["1 = 1"], []
    for column, value in (("kind", filters.kind), ("model", filters.model), ("token_id", filters.token_id)):
        if value not in ("", None):
            conditions.append(f"{column} = %s")
            more.append(value)
    cursor.execute(
        f"SELECT at, source, number, charge FROM ({union}) AS moves WHERE {' AND '.join(conditions)}"  # noqa: S608  of constants
        " ORDER BY at DESC, source DESC, number DESC, charge DESC LIMIT %s",
        [*values, *more, count],
    )
    return [_key(row) for row in cursor.fetchall()]


def _lines(cursor: CursorWrapper, balance: Balance, bounds: Bounds, earlier: int, limit: int | None = None) -> list[Line]:
    """Lines in their order; `earlier` is the balance before the first of them."""
    union, values = _union(balance, bounds)
    first = "" if limit is None else f" ORDER BY at, source, number, charge LIMIT {limit}"
    cursor.execute(
        "SELECT at, source, number, charge, kind, amount, sum(amount) OVER (ORDER BY at, source, number, charge), model, token_id, author_id,"  # noqa: S608
        f" reason, reference, of_charge FROM (SELECT * FROM ({union}) AS moves{first}) AS chosen"
        " ORDER BY at, source, number, charge",
        values,
    )
    return [_line(row, earlier) for row in cursor.fetchall()]


def _key(row: Any) -> Key:
    at, source, number, charge = row[:4]
    moment = datetime.datetime.fromisoformat(at) if isinstance(at, str) else at
    return Key(moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC), source, number, charge)


def _line(row: Any, earlier: int) -> Line:
    key = _key(row)
    kind, amount, running, model, token_id, author_id, reason, reference, of_charge = row[4:]
    named = key.charge or of_charge
    charge = uuid.UUID(named) if named else None
    return Line(key, kind, int(amount), earlier + int(running), model, token_id, charge, author_id, reason, reference or "")


def _union(balance: Balance, bounds: Bounds) -> tuple[str, list[Any]]:
    """All that changed the balance, as a SELECT with the columns of `_lines`, and its values."""
    branches = [_charges(balance), _pruned(balance)] + ([_entries(balance)] if balance.kind == Kind.WALLET else _limit(balance))
    conditions, times = _bounded(bounds)
    texts, values = [], []
    for select, own in branches:
        texts.append(f"SELECT * FROM ({select}) AS branch WHERE {conditions}")  # noqa: S608  of constants
        values += [*own, *times]
    return " UNION ALL ".join(texts), values


def _bounded(bounds: Bounds) -> tuple[str, list[Any]]:
    """The time stands apart from the rest of a key: by it alone the database finds the partition and the place in an index."""
    conditions, values = ["1 = 1"], []
    for operator, moment in ((">=", bounds.period.start), ("<", bounds.period.end)):
        if moment is not None:
            conditions.append(f"at {operator} %s")
            values.append(_moment(moment))
    for operator, time, key in ((">", ">=", bounds.after), (">=", ">=", bounds.since), ("<", "<=", bounds.before)):
        if key is not None:
            conditions.append(f"at {time} %s AND (at, source, number, charge) {operator} (%s, %s, %s, %s)")
            values += [_moment(key.at), _moment(key.at), key.source, key.number, key.charge]
    return " AND ".join(conditions), values


def _moment(at: datetime.datetime) -> Any:
    return at if connection.vendor == "postgresql" else at.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _time(column: str = "at") -> str:
    """The column of a moment. On SQLite moments are texts, and Django writes whole seconds without a fraction, the relay with one."""
    return column if connection.vendor == "postgresql" else f"CASE length({column}) WHEN 19 THEN {column} || '.000000' ELSE {column} END"


def _charges(balance: Balance) -> tuple[str, list[Any]]:
    """What names the balance. Its owner stands in an index; the list of balances decides. A pruned month's rows may still be on their way out."""
    kept = kept_from()
    owner = "user_id" if balance.kind == Kind.WALLET or balance.kind.startswith("user_") else "token_id"
    value: Any = balance.pk
    if connection.vendor == "postgresql":
        named, value = "balances @> %s::jsonb", str(balance.pk)
    else:
        named = "EXISTS (SELECT 1 FROM json_each(balances) AS named WHERE named.value = %s)"
    sql = f"""SELECT {_time()} AS at, 0 AS source, 0 AS number, CAST(id AS text) AS charge, '{CHARGE}' AS kind, -amount AS amount, model, token_id,
        {NO_ID} AS author_id, '' AS reason, '' AS reference, {NO_TEXT} AS of_charge FROM billing_usagerecord
        WHERE {owner} = %s AND amount <> 0 AND {named}{f" AND at >= {literal(kept)}" if kept else ""}"""  # noqa: S608  of constants
    return sql, [balance.subject, value]


def _pruned(balance: Balance) -> tuple[str, list[Any]]:
    """The sums of pruned months."""
    last = (
        "((month + interval '1 month') AT TIME ZONE 'UTC') - interval '1 microsecond'"
        if connection.vendor == "postgresql"
        else "datetime(month, '+1 month', '-1 second') || '.999999'"
    )
    sql = f"""SELECT {last} AS at, 0 AS source, 0 AS number, '' AS charge, '{PRUNED}' AS kind, -charges AS amount, '' AS model,
        {NO_ID} AS token_id, {NO_ID} AS author_id, '' AS reason, '' AS reference, {NO_TEXT} AS of_charge FROM billing_checkpoint
        WHERE kind = 'balance' AND subject = %s AND charges <> 0
        AND month <= (SELECT max(month) FROM billing_closedmonth WHERE pruned_at IS NOT NULL)"""  # noqa: S608  of constants
    return sql, [balance.pk]


def _entries(balance: Balance) -> tuple[str, list[Any]]:
    sql = f"""SELECT {_time()} AS at, 1 AS source, id AS number, '' AS charge, act AS kind, amount, '' AS model, {NO_ID} AS token_id,
        author_id, reason, idempotency_key AS reference, CAST(charge AS text) AS of_charge
        FROM billing_ledgerentry WHERE balance_id = %s"""  # noqa: S608  of constants
    return sql, [balance.pk]


def _limit(balance: Balance) -> list[tuple[str, list[Any]]]:
    """The changes of a limit, and what it was at its creation: what is left of it without them."""
    changes = f"""SELECT {_time()} AS at, 1 AS source, id AS number, '' AS charge, act AS kind, {{amount}} AS amount, '' AS model,
        {NO_ID} AS token_id, author_id, reason, reference, {NO_TEXT} AS of_charge
        FROM billing_limitchange WHERE {{column}} = %s"""  # noqa: S608  of constants
    created = f"""SELECT {_time("created_at")} AS at, -1 AS source, 0 AS number, '' AS charge, '{CREATED}' AS kind, "limit"
        - COALESCE((SELECT sum(amount) FROM billing_limitchange WHERE balance_id = billing_balance.id), 0)
        + COALESCE((SELECT sum(amount) FROM billing_limitchange WHERE taken_from_id = billing_balance.id), 0) AS amount, '' AS model,
        {NO_ID} AS token_id, {NO_ID} AS author_id, '' AS reason, '' AS reference, {NO_TEXT} AS of_charge
        FROM billing_balance WHERE id = %s"""  # noqa: S608  of constants
    return [
        (changes.format(amount="amount", column="balance_id"), [balance.pk]),
        (changes.format(amount="-amount", column="taken_from_id"), [balance.pk]),
        (created, [balance.pk]),
    ]
