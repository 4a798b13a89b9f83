"""PostgreSQL's usage log has a partition a month, made ahead by a task; what falls beside them raises an alarm and moves into its own."""

import datetime

import pytest
from django.conf import LazySettings
from django.core import mail
from django.db import connection
from django.utils import timezone

from billing.archive import archive
from billing.models import UsageRecord
from billing.months import close, start_of
from billing.partitions import TABLE, month_after, partitions_through, strays
from billing.prune import prune
from billing.tasks import create_usage_partitions
from tests.billing.months import MONTH, partitions_from
from tests.billing.rows import charge

pytestmark = pytest.mark.django_db
AHEAD = month_after(timezone.now().date().replace(day=1), 2)


@pytest.fixture(autouse=True)
def operators(settings: LazySettings, tmp_path: object) -> None:
    settings.ALERT_EMAILS, settings.DATA_DIR = ["ops@example.com"], tmp_path


def partitions(through: datetime.date = AHEAD) -> list[str]:
    """Names without the table's; SQLite has none."""
    if connection.vendor != "postgresql":
        return []
    with connection.cursor() as cursor:
        return [name.removeprefix(f"{TABLE}_") for name in partitions_through(cursor, through)]


def expected(*names: str) -> list[str]:
    return list(names) if connection.vendor == "postgresql" else []


def test_the_task_makes_what_is_missing_two_months_ahead() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"DROP TABLE {TABLE}_{AHEAD:%Y_%m}")
    before = partitions()

    create_usage_partitions()
    create_usage_partitions()

    assert partitions() == [*before, *expected(f"{AHEAD:%Y_%m}")]
    assert mail.outbox == []


def test_rows_beside_the_partitions_raise_an_alarm_and_move_into_theirs() -> None:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"DROP TABLE {TABLE}_{AHEAD:%Y_%m}")
    record = charge([], 5, user_id=1, at=start_of(AHEAD))

    create_usage_partitions()

    assert len(mail.outbox) == len(expected("alarm"))
    assert UsageRecord.objects.get().pk == record.pk
    if connection.vendor == "postgresql":
        assert f"{AHEAD:%Y_%m}" in partitions()
        with connection.cursor() as cursor:
            assert strays(cursor) == 0
    create_usage_partitions()
    assert len(mail.outbox) == len(expected("alarm"))


def test_a_pruned_months_partition_is_dropped_and_its_strays_are_deleted() -> None:
    older = month_after(MONTH, -1)
    charge([], 5, user_id=1, at=start_of(older))  # of before the first partition
    partitions_from(MONTH)
    charge([], 5, user_id=1, at=start_of(MONTH))
    kept = charge([], 5, user_id=1, at=start_of(month_after(MONTH)))
    assert partitions(MONTH) == expected(f"{MONTH:%Y_%m}")
    for month in (older, MONTH):
        close(month)
        archive(month)

    prune(older)
    assert UsageRecord.objects.count() == 2
    prune(MONTH)

    assert partitions(MONTH) == []
    assert [record.pk for record in UsageRecord.objects.all()] == [kept.pk]
