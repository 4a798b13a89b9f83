"""Counters of processes that are gone are folded into one row each: a counter is read as the sum of its rows (docs/ledger.md §1).

A chunk moves in one transaction, so that the sum is the same at every moment. A process that still settles into a folded slot (a fenced one,
or the next one of that number) finds no row and makes a new one.
"""

from collections import Counter as Sums

from django.db import connection, transaction

from billing.ledger.statements import COUNTERS_ADD
from billing.models import Counter, Process

FOLDED = -1
"""The slot of the folded row; no process has it."""

CHUNK = 500  # rows in one transaction: a few milliseconds


def fold_counters() -> int:
    """Folds the rows of all slots that no living process has; gives back how many rows went."""
    folded = 0
    while count := _fold_chunk():
        folded += count
    return folded


def _fold_chunk() -> int:
    living = Process.objects.filter(fenced=False).values("slot")
    dead = Counter.objects.exclude(slot=FOLDED).exclude(slot__in=living)
    with transaction.atomic():
        # Locked in the order in which a settle locks them; then read, so that what a settle added while we waited is there.
        rows = list(dead.select_for_update().order_by("kind", "subject", "slot")[:CHUNK])
        amounts: Sums[tuple[str, int]] = Sums()
        requests: Sums[tuple[str, int]] = Sums()
        for row in rows:
            amounts[row.kind, row.subject] += row.amount
            requests[row.kind, row.subject] += row.requests
        Counter.objects.filter(pk__in=[row.pk for row in rows]).delete()
        with connection.cursor() as cursor:
            for key in sorted(requests):
                cursor.execute(COUNTERS_ADD.format(rows="(%s, %s, %s, %s, %s)"), [*key, FOLDED, amounts[key], requests[key]])
    return len(rows)
