"""`manage.py audit`: does the money add up? Safe to run while the server works."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from billing.audit import Report, audit
from billing.audit_run import run_audit
from billing.models import AuditRun
from billing.money import format_usd


class Command(BaseCommand):
    help = "Recomputes every balance and counter from the entries and charges, in one snapshot. Exits with 1 on any difference."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--full", action="store_true", help="from all rows that are still there, not from the sums of closed months")
        parser.add_argument("--json", action="store_true", help="print the report as JSON")
        parser.add_argument("--record", action="store_true", help="keep the result as a row, and raise an alarm as the nightly audit does")

    def handle(self, *args: Any, **options: Any) -> None:
        full = options["full"]
        report = run_audit(AuditRun.objects.create(full=full)) if options["record"] else audit(full=full)
        self.stdout.write(json.dumps(report.as_dict()) if options["json"] else "\n".join(_lines(report)))
        if not report.ok:
            raise SystemExit(1)


def _lines(report: Report) -> list[str]:
    lines = [
        f"{report.charges} charges of {format_usd(report.charged_nanodollars)} USD in all, {report.balances} balances, {report.counters} counters.",
    ]
    if report.closed_until:
        lines.append(f"Months up to {report.closed_until} count by their checkpoints{'; their rows were removed' if report.full else ''}.")
    lines += [f"{one.check}: {one.what}: {one.expected} expected, {one.found} found" for one in report.differences]
    if report.unlisted:
        lines.append(f"… and {report.unlisted} more.")
    if report.journal_pending:
        lines.append(f"{report.journal_pending} charges wait in journals on disk.")
    lines.append("Everything adds up." if report.ok else f"{len(report.differences) + report.unlisted} differences (nano-dollars).")
    return lines
