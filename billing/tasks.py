"""Upkeep that beat runs, most of it by night; each task is harmless when repeated."""

import datetime

import structlog
from celery import shared_task
from django.db import connection

from billing.audit_run import run_audit
from billing.holds import expire_holds
from billing.models import AuditRun
from billing.partitions import create_partitions
from billing.rollup import fold_counters

log = structlog.get_logger(__name__)


@shared_task(name="billing.tasks.create_usage_partitions")
def create_usage_partitions() -> None:
    """The usage log's partitions two months ahead; SQLite has none."""
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        created = create_partitions(cursor, datetime.datetime.now(tz=datetime.UTC).date())
    if created:
        log.info("usage partitions created", names=created)


@shared_task(name="billing.tasks.nightly_audit")
def nightly_audit() -> None:
    """The audit as a row; differences, or too much below zero, raise an alarm."""
    run = run_audit(AuditRun.objects.create())
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
