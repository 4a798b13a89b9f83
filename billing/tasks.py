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
    run = run_audit(AuditRun.objects.create())
    log.info("audited", audit=run.pk, ok=run.ok, found=run.found, below_zero=run.below_zero)
