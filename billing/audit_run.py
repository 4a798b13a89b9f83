"""Runs an audit as a row: what it found, how much is missing in balances below zero, and whether an alarm was raised for it."""

import datetime
import hashlib
import json
from dataclasses import asdict

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.alarms import raise_alarm
from billing.audit import Report, audit
from billing.models import AuditRun
from billing.money import format_usd, parse_usd

QUIET = datetime.timedelta(hours=20)
"""The same findings raise one alarm within it: each night's again, repeated runs of a day not."""

NAMED_IN_ALARM = 20


def run_audit(run: AuditRun) -> Report:
    """Audits, writes the outcome into the row, and raises an alarm for differences or for too much below zero. DatabaseError as it comes."""
    run.started_at = timezone.now()
    run.save(update_fields=["started_at"])
    try:
        report = audit(full=run.full)
        run.below_zero, run.below_zero_sum = below_zero()
    except DatabaseError as error:
        run.finished_at, run.error = timezone.now(), str(error)[:255]
        run.save(update_fields=["finished_at", "error"])
        raise
    run.charges, run.charged, run.balances, run.counters = report.charges, report.charged_nanodollars, report.balances, report.counters
    run.journal_pending, run.found = report.journal_pending, len(report.differences) + report.unlisted
    run.differences = [asdict(one) for one in report.differences]
    run.ok, run.finished_at = report.ok, timezone.now()
    too_low = run.below_zero_sum > parse_usd(settings.ALERT_BELOW_ZERO)
    if not report.ok or too_low:
        findings = [run.differences, run.found, run.below_zero_sum if too_low else 0]
        run.fingerprint = hashlib.sha256(json.dumps(findings, sort_keys=True).encode()).hexdigest()
        if not AuditRun.objects.filter(fingerprint=run.fingerprint, alarmed_at__gt=timezone.now() - QUIET).exists():
            run.alarmed_at = timezone.now()
    run.save()
    if run.alarmed_at:
        _alarm(run, too_low=too_low)
    return report


def below_zero() -> tuple[int, int]:
    """How many balances are below zero, leases and holds included, and how many nano-dollars they lack together."""
    sql = """
        SELECT count(*), COALESCE(-sum(total), 0) FROM (
            SELECT sum(part) AS total FROM (
                SELECT id AS balance_id, available AS part FROM billing_balance
                UNION ALL SELECT balance_id, remaining FROM billing_lease UNION ALL SELECT balance_id, amount FROM billing_hold
            ) AS parts GROUP BY balance_id HAVING sum(part) < 0
        ) AS lacking
    """
    with connection.cursor() as cursor:
        cursor.execute(sql)
        count, missing = cursor.fetchone()
    return int(count), int(missing)


def _alarm(run: AuditRun, *, too_low: bool) -> None:
    lines = []
    if not run.ok:
        lines.append(_("The audit found %(count)d differences (nano-dollars):") % {"count": run.found})
        lines += ["{check}: {what}: {expected} / {found}".format(**one) for one in run.differences[:NAMED_IN_ALARM]]
    if too_low:
        lacking = {"count": run.below_zero, "amount": format_usd(run.below_zero_sum)}
        lines.append(_("%(count)d balances are below zero and lack %(amount)s US dollars together.") % lacking)
    details = {"audit": run.pk, "differences": run.differences[:NAMED_IN_ALARM], "found": run.found, "below_zero_nanodollars": run.below_zero_sum}
    raise_alarm(_("The ledger needs a look"), "\n".join(lines), details)
