"""`manage.py month close|list|archive|prune`: what becomes of the usage log's months."""

import argparse
import datetime
from argparse import ArgumentParser
from typing import Any, ClassVar

from accounts.operator import OperatorCommand, Output, table
from billing import months
from billing.archive import archive, folder
from billing.models import ClosedMonth
from billing.prune import prune


class Command(OperatorCommand):
    help = "Months of the usage log (UTC): close, list, archive, prune."
    verbs: ClassVar[dict[str, str]] = {
        "close": "Write a month's sums as checkpoints, from which the audit starts; a task does it three days after the month's end.",
        "list": "List closed months, the oldest first.",
        "archive": "Write a closed month's rows to DATA_DIR/archive, again where something was booked since.",
        "prune": "Remove the rows of an archived month for good; the oldest one goes first.",
    }

    def arguments_close(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", required=True, type=month, metavar="YYYY-MM")

    arguments_archive = arguments_prune = arguments_close

    def arguments_list(self, parser: ArgumentParser) -> None:
        """None of its own."""

    def close(self, options: dict[str, Any]) -> Output:
        closed, new = months.close(options["month"])
        return Output({**described(closed), "repeated": not new}, [f"{closed} is closed." if new else f"{closed} was closed before."])

    def list(self, options: dict[str, Any]) -> Output:
        rows = [described(closed) for closed in ClosedMonth.objects.order_by("month")]
        return table(rows, ("month", "closed_at", "changes", "archived", "rows", "archive", "pruned_at", "emptied_at"))

    def archive(self, options: dict[str, Any]) -> Output:
        closed = archive(options["month"])
        return Output(described(closed), [f"{closed.rows} rows: {folder() / closed.archive}"])

    def prune(self, options: dict[str, Any]) -> Output:
        closed = prune(options["month"])
        return Output(described(closed), [f"The rows of {closed} are gone; its archive is {folder() / closed.archive}."])


def month(text: str) -> datetime.date:
    """A month's first day, from YYYY-MM."""
    try:
        return datetime.datetime.strptime(text, "%Y-%m").replace(tzinfo=datetime.UTC).date()
    except ValueError as error:
        raise argparse.ArgumentTypeError("a month is written as YYYY-MM") from error


def described(closed: ClosedMonth) -> dict[str, Any]:
    """A closed month as JSON. `archived` says whether its archive holds everything: false as well where something was booked since."""
    return {
        "month": str(closed),
        "closed_at": closed.closed_at,
        "changes": closed.changes,
        "archived": closed.archived_at is not None and closed.archived_changes == closed.changes,
        "archived_at": closed.archived_at,
        "rows": closed.rows,
        "archive": closed.archive,
        "sha256": closed.sha256,
        "pruned_at": closed.pruned_at,
        "emptied_at": closed.emptied_at,
    }
