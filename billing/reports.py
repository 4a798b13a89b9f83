"""Sums over the usage log for the dashboard, the portal and the API: what was served, what it earned, what it cost.

Amounts are nano-dollars. Only requests count, health tests do not, except for what they cost at the upstream; what failed is counted apart
and costs nothing. Days are those of TIME_ZONE.
"""

import datetime
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing.models import UsageRecord

BOOKED = ("done", "partial", "abandoned")


@dataclass(frozen=True, slots=True)
class Sums:
    """What a set of requests comes to. `requests` are those that were charged (also at nothing), `failed` those that failed or were empty."""

    requests: int = 0
    failed: int = 0
    amount: int = 0
    refunded: int = 0
    upstream_cost: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def margin(self) -> int:
        """What remains of the charges after refunds and what the upstreams ask."""
        return self.amount - self.refunded - self.upstream_cost

    @property
    def tokens(self) -> int:
        """Tokens in and out together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Row:
    """The sums of one day, model, channel or user; `key` is the date, the name or the id."""

    key: Any
    sums: Sums


def day_start(days_ago: int = 0) -> datetime.datetime:
    """Midnight in TIME_ZONE, today's or that of some days ago."""
    return _midnight(timezone.localdate() - datetime.timedelta(days=days_ago))


def totals(since: datetime.datetime, until: datetime.datetime | None = None, **only: Any) -> Sums:
    """The sums of a half-open span of time. `only` narrows: `user_id=7`, `token_id=…`, `channel_id=…`, `model="…"`."""
    return Sums(**_records(since, until, only).aggregate(**_SUMS))


def per_day(since: datetime.datetime, until: datetime.datetime | None = None, **only: Any) -> list[Row]:
    """The sums of each day, in their order; days on which nothing happened are there too, so that a chart has no gaps."""
    # A query a day reads a range of the index on `at`; grouping by date would ask SQLite to call Python for every row.
    end = until or timezone.now()
    rows, start = [], since
    while start < end:
        day = timezone.localdate(start)
        midnight = _midnight(day + datetime.timedelta(days=1))
        rows.append(Row(day, totals(start, min(midnight, end) if until else midnight, **only)))
        start = midnight
    return rows


def per_model(since: datetime.datetime, until: datetime.datetime | None = None, *, most: int = 20, **only: Any) -> list[Row]:
    """The sums of the models asked for that earned most."""
    return _grouped(_records(since, until, only).annotate(key=F("model")))[:most]


def per_channel(since: datetime.datetime, until: datetime.datetime | None = None, *, most: int = 20, **only: Any) -> list[Row]:
    """The sums of the channels, by id, that earned most."""
    return _grouped(_records(since, until, only).annotate(key=F("channel_id")))[:most]


def per_user(since: datetime.datetime, until: datetime.datetime | None = None, *, most: int = 20, **only: Any) -> list[Row]:
    """The sums of the users, by id, that spent most."""
    return _grouped(_records(since, until, only).annotate(key=F("user_id")))[:most]


_SERVED = Q(type="request", ended__in=BOOKED)
_SUMS = {
    "requests": Count("id", filter=_SERVED),
    "failed": Count("id", filter=Q(type="request") & ~Q(ended__in=BOOKED)),
    **{name: Coalesce(Sum(name), Value(0)) for name in ("amount", "refunded", "upstream_cost")},
    **{name: Coalesce(Sum(name, filter=_SERVED), Value(0)) for name in ("input_tokens", "output_tokens")},
}


def _midnight(day: datetime.date) -> datetime.datetime:
    """The start of a day in TIME_ZONE, whose offset differs where the clocks change."""
    return timezone.make_aware(datetime.datetime.combine(day, datetime.time.min))


def _records(since: datetime.datetime, until: datetime.datetime | None, only: dict[str, Any]) -> QuerySet[UsageRecord]:
    records = UsageRecord.objects.filter(at__gte=since, **only)
    return records.filter(at__lt=until) if until is not None else records


def _grouped(records: QuerySet[Any]) -> list[Row]:
    """The sums by `key`, the greatest amount first."""
    rows = records.order_by().values("key").annotate(**{f"sum_{name}": each for name, each in _SUMS.items()})
    found = [Row(row["key"], Sums(**{name: int(row[f"sum_{name}"]) for name in _SUMS})) for row in rows]
    return sorted(found, key=lambda row: (-row.sums.amount, -row.sums.requests, str(row.key)))
