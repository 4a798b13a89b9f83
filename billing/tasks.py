"""Upkeep that beat runs, most of it by night; each task is harmless when repeated."""

import datetime
from pathlib import Path

import structlog
from celery import shared_task
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.alarms import raise_alarm
from billing.audit_run import run_audit
from billing.holds import expire_holds
from billing.ledger.journal import refused
from billing.models import AuditRun
from billing.months import close_due
from billing.partitions import create_partitions, strays
from billing.prune import prune, unfinished
from billing.rollup import fold_counters

QUIET = 20 * 3600
"""Seconds within which one refused charge raises one alarm."""

log = structlog.get_logger(__name__)


@shared_task(name="billing.tasks.create_usage_partitions")
def create_usage_partitions() -> None:
    """The usage log's partitions two months ahead; SQLite has none."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        astray = strays(cursor)
        created = create_partitions(cursor, datetime.datetime.now(tz=datetime.UTC).date())
    if created:
        log.info("usage partitions created", names=created)
    if astray:
        text = _("%(count)d rows are in its DEFAULT partition, as their month had none: this task has not run for long, or a clock was wrong.")
        raise_alarm(_("The usage log lacks a partition"), text % {"count": astray}, {"rows": astray})


@shared_task(name="billing.tasks.nightly_audit")
def nightly_audit() -> None:
    """The audit, from the sums of closed months on, as a row; differences, or too much below zero, raise an alarm."""
    audited(AuditRun.objects.create(full=False))


@shared_task(name="billing.tasks.requested_audit")
def requested_audit(run_id: int) -> None:
    """The same for a row that somebody asked for; once a row, however often the task is delivered."""
    run = AuditRun.objects.filter(pk=run_id, started_at__isnull=True).first()
    if run is not None:
        audited(run)


def audited(run: AuditRun) -> None:
    """Runs it and says so in the log."""
    run_audit(run)
    log.info("audited", audit=run.pk, ok=run.ok, found=run.found, below_zero=run.below_zero)


@shared_task(name="billing.tasks.expire_overdue_holds")
def expire_overdue_holds() -> None:
    """Money of work that brought no result in time goes back."""
    expired = expire_holds()
    if expired:
        log.warning("holds expired", holds=[str(hold) for hold in expired])


@shared_task(name="billing.tasks.fold_dead_counters")
def fold_dead_counters() -> None:
    """Counters of processes that are gone become one row each."""
    log.info("counters folded", rows=fold_counters())


@shared_task(name="billing.tasks.close_months")
def close_months() -> None:
    """Closes the months that ended some days ago, and goes on with a removal of rows that was broken off."""
    for closed in close_due(timezone.now()):
        log.info("month closed", month=str(closed))
    for month in unfinished():
        prune(month)


@shared_task(name="billing.tasks.report_refused_charges")
def report_refused_charges() -> None:
    """Charges that the database does not take, such as those of pruned months, lie beside the journals: an alarm once a day for each file."""
    files = [path.name for path in refused(Path(settings.DATA_DIR) / "journal")]
    new = [name for name in files if cache.add(f"refused-charge:{name}", 1, QUIET)]
    if new:
        text = _("Charges could not be booked and lie in DATA_DIR/journal: %(files)s") % {"files": ", ".join(new)}
        raise_alarm(_("Charges were refused"), text, {"files": new})
