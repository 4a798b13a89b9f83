"""Closing months: their sums become checkpoints, from which the audit starts and behind which rows may be archived (docs/ledger.md §6).

Months are UTC months, as the partitions are, and are closed one after the other. What comes for a closed month later adds itself to its
checkpoints: billing/ledger/store.py.
"""

import datetime
import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.clock import database_time
from billing.ledger.statements import CHECKPOINT_ADD
from billing.models import Checkpoint, ClosedMonth, UsageRecord
from billing.month_sums import month_sums
from billing.partitions import lock_month, month_after

CLOSE_AFTER = datetime.timedelta(days=3)
"""How long after a month's end the task closes it: late charges are rare by then. The command may do it at once."""

CHUNK = 500  # checkpoints written in one transaction on SQLite: a few milliseconds
FEW = 1000  # rows that may be summed while the lock is held there


class MonthError(ValueError):
    """What was asked of a month cannot be; its text is a sentence."""


def start_of(month: datetime.date) -> datetime.datetime:
    """The first moment of a month."""
    return datetime.datetime(month.year, month.month, 1, tzinfo=datetime.UTC)


def literal(month: datetime.date) -> str:
    """That moment as a constant of SQL, comparable with `at` in both dialects: on SQLite a text, and a moment's text begins those after it."""
    return f"'{month:%Y-%m-01} 00:00:00{'+00' if connection.vendor == 'postgresql' else ''}'"


def last_closed() -> datetime.date | None:
    """The last closed month."""
    return ClosedMonth.objects.order_by("-month").values_list("month", flat=True).first()


def kept_from() -> datetime.date | None:
    """The oldest month whose rows are kept; None while all are."""
    pruned = ClosedMonth.objects.filter(pruned_at__isnull=False).order_by("-month").values_list("month", flat=True).first()
    return month_after(pruned) if pruned else None


def database_month() -> datetime.date:
    """The month that it is by the database's clock, which charges go by."""
    return datetime.datetime.fromtimestamp(database_time(), datetime.UTC).date().replace(day=1)


@contextmanager
def alone() -> Iterator[None]:
    """One at a time closes, archives or prunes on this data folder; the database itself holds apart what others do on theirs."""
    with open(settings.DATA_DIR / "months.lock", "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise MonthError(_("Another process is closing, archiving or pruning a month.")) from error
        yield


def close(month: datetime.date) -> tuple[ClosedMonth, bool]:
    """Closes a month that has ended; (its row, False) where it was closed before. MonthError: not ended, or an earlier one is open."""
    if month >= database_month():
        raise MonthError(_("%(month)s has not ended yet.") % {"month": f"{month:%Y-%m}"})
    with alone():
        return close_ended(month)


def close_ended(month: datetime.date) -> tuple[ClosedMonth, bool]:
    """`close` of a month of which the caller knows that it has ended."""
    known = ClosedMonth.objects.filter(month=month).first()
    if known is not None:
        return known, False
    first = _first_open()
    if first is not None and month != first:
        raise MonthError(_("%(month)s is the next month to be closed.") % {"month": f"{first:%Y-%m}"})
    start = last_closed()
    where = f"usage.at < {literal(month_after(month))}" + (f" AND usage.at >= {literal(month_after(start))}" if start else "")
    return (_close_locked(month, where) if connection.vendor == "postgresql" else _close_by_parts(month, where)), True


def close_due(now: datetime.datetime) -> list[ClosedMonth]:
    """Closes every month that ended CLOSE_AFTER ago; gives back the new ones."""
    closed = []
    while (month := _first_open()) is not None and start_of(month_after(month)) + CLOSE_AFTER <= now:
        closed.append(close(month)[0])
    return closed


def _first_open() -> datetime.date | None:
    """The month after the last closed one; where there is none, that of the oldest record."""
    last = last_closed()
    if last is not None:
        return month_after(last)
    oldest = UsageRecord.objects.order_by("at").values_list("at", flat=True).first()
    return None if oldest is None else oldest.astimezone(datetime.UTC).date().replace(day=1)


def _close_locked(month: datetime.date, where: str) -> ClosedMonth:
    """PostgreSQL: a lock that inserts into this month wait for, then the sums; a statement's snapshot begins after the lock was had."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 0")
        lock_month(cursor, month)
        known = ClosedMonth.objects.filter(month=month).first()
        if known is not None:
            return known
        cursor.execute(
            f"INSERT INTO billing_checkpoint (kind, subject, month, charges, requests)"  # noqa: S608  of constants
            f" SELECT kind, subject, '{month}'::date, charges, requests FROM ({month_sums(where)}) AS sums"
        )
        return ClosedMonth.objects.create(month=month, closed_at=timezone.now())


def _close_by_parts(month: datetime.date, where: str) -> ClosedMonth:
    """SQLite: the one write lock is never held for long. Rows are summed without it up to a rowid (new rows have higher ones), and what came
    meanwhile at the end; nobody reads checkpoints of a month that is not closed yet."""
    leftover = Checkpoint.objects.filter(month=month)
    while some := list(leftover.values_list("pk", flat=True)[:CHUNK]):
        leftover.filter(pk__in=some).delete()
    summed = 0
    where = where.replace("usage.at", "+usage.at")  # the plus keeps SQLite from walking the whole month by its index for a few new rows
    with connection.cursor() as cursor:
        while (top := _highest_row(cursor)) - summed > FEW:
            cursor.execute(month_sums(f"{where} AND usage.rowid > {summed} AND usage.rowid <= {top}"))
            sums = cursor.fetchall()
            for start in range(0, len(sums), CHUNK):
                with transaction.atomic():
                    _add(cursor, month, sums[start : start + CHUNK])
            summed = top
        with transaction.atomic():
            cursor.execute(month_sums(f"{where} AND usage.rowid > {summed}"))
            _add(cursor, month, cursor.fetchall())
            return ClosedMonth.objects.create(month=month, closed_at=timezone.now())


def _highest_row(cursor: CursorWrapper) -> int:
    cursor.execute("SELECT COALESCE(max(rowid), 0) FROM billing_usagerecord")
    return int(cursor.fetchone()[0])


def _add(cursor: CursorWrapper, month: datetime.date, sums: Iterable[tuple[str, int, int, int]]) -> None:
    cursor.executemany(
        CHECKPOINT_ADD.replace("?", "%s"), [(kind, subject, f"{month}", charges, requests) for kind, subject, charges, requests in sums]
    )
