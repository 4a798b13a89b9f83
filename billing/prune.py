"""Removing the rows of a closed and archived month (docs/ledger.md §6).

First the month is marked, under a lock that its charges and refunds wait for: from then on none of it is booked or refunded, and its rows
count no more. Then the rows go: PostgreSQL drops the partition, SQLite deletes a few at a time. Broken off, it goes on at the next call.
"""

import datetime
import time
import uuid

from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.archive import verified
from billing.models import ClosedMonth, Hold
from billing.months import CLOSE_AFTER, MonthError, alone, start_of
from billing.partitions import TABLE, drop_partition, lock_month, month_after, partitions_through

LOCKED = 0.02
"""Seconds that a chunk's transaction should hold SQLite's write lock; 50 ms are the bound."""

TRIES = 30  # of a lock that readers of the usage log are in the way of, a second apart


def prune(month: datetime.date) -> ClosedMonth:
    """Removes a month's rows; harmless when repeated. MonthError (a sentence): not closed, not the oldest kept one, too young, no complete
    archive, or an open hold reaches into it."""
    with alone():
        closed = ClosedMonth.objects.filter(month=month).first()
        if closed is None:
            raise MonthError(_("%(month)s is not closed.") % {"month": f"{month:%Y-%m}"})
        if closed.pruned_at is None:
            _check(closed)
            _mark(closed)
        if closed.emptied_at is None:
            _empty(month)
            ClosedMonth.objects.filter(pk=closed.pk).update(emptied_at=timezone.now())
        closed.refresh_from_db()
        return closed


def unfinished() -> list[datetime.date]:
    """Months that are pruned and whose rows are not all gone."""
    return list(ClosedMonth.objects.filter(pruned_at__isnull=False, emptied_at__isnull=True).order_by("month").values_list("month", flat=True))


def _check(closed: ClosedMonth) -> None:
    older = ClosedMonth.objects.filter(month__lt=closed.month, pruned_at__isnull=True).order_by("month").first()
    if older is not None:
        raise MonthError(_("%(month)s is the oldest month that is kept.") % {"month": older})
    if start_of(month_after(closed.month)) + CLOSE_AFTER > timezone.now():
        raise MonthError(_("%(month)s ended only just now: requests of it may still be under way.") % {"month": closed})
    if closed.archived_at is None or closed.archived_changes != closed.changes:
        raise MonthError(_("%(month)s has no archive, or something was booked since: archive it first.") % {"month": closed})
    if not verified(closed):
        raise MonthError(_("The archive %(file)s is missing or damaged: archive the month again.") % {"file": closed.archive})


def _mark(closed: ClosedMonth) -> None:
    """Raises `kept_from`. Whoever writes a charge or a refund of this month reads it after a lock that is taken here exclusively."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            lock_month(cursor, closed.month)
        # A hold's id is its charge's, with the time of admission in front.
        until = uuid.UUID(int=int(start_of(month_after(closed.month)).timestamp() * 1000) << 80)
        if (hold := Hold.objects.filter(hold_id__lt=until).first()) is not None:
            raise MonthError(_("The open hold of %(job)s reaches into %(month)s.") % {"job": hold.job, "month": closed})
        current = ClosedMonth.objects.filter(pk=closed.pk, pruned_at__isnull=True, archived_changes=F("changes"))
        if not current.update(pruned_at=timezone.now()):
            raise MonthError(_("%(month)s has no archive, or something was booked since: archive it first.") % {"month": closed})


def _empty(month: datetime.date) -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            for name in partitions_through(cursor, month):
                _drop_patiently(cursor, name)
        _delete(cursor, f"{TABLE}_default" if connection.vendor == "postgresql" else TABLE, month_after(month))


def _drop_patiently(cursor: CursorWrapper, name: str) -> None:
    """The whole usage log is locked for a moment, and everybody queues behind who waits for it: so it waits briefly, and often."""
    for _attempt in range(TRIES):
        try:
            with transaction.atomic():
                drop_partition(cursor, name)
        except OperationalError:
            time.sleep(1)
        else:
            return
    raise MonthError(_("The rows are being read all the time; the next run goes on with it."))


def _delete(cursor: CursorWrapper, table: str, until: datetime.date) -> None:
    """A few rows in each transaction: as many as the last one's time allows, and as long a pause for the others."""
    row = "ctid" if connection.vendor == "postgresql" else "rowid"
    sql = f"DELETE FROM {table} WHERE {row} IN (SELECT {row} FROM {table} WHERE at < %s ORDER BY at LIMIT %s)"  # noqa: S608  of constants
    moment = connection.ops.adapt_datetimefield_value(start_of(until))
    size = 100
    while True:
        with transaction.atomic():
            begun = time.monotonic()
            cursor.execute(sql, [moment, size])
            gone = cursor.rowcount
            took = max(0.001, time.monotonic() - begun)
        if gone < size:
            return
        size = max(20, min(5000, int(size * LOCKED / took)))
        time.sleep(took)
