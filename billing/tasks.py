"""Upkeep that beat runs by night; each task is harmless when repeated."""

import datetime

import structlog
from celery import shared_task
from django.db import connection

from billing.audit_run import run_audit
from billing.models import AuditRun
from billing.partitions import create_partitions

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
    audited(AuditRun.objects.create())


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
