"""The sums of the usage log: what was served, what it earned and what it cost."""

import datetime

import pytest
from django.utils import timezone

from billing import reports
from billing.models import UsageRecord
from tests.billing.rows import charge

pytestmark = pytest.mark.django_db


@pytest.fixture
def a_week() -> None:
    now = timezone.now()
    charge([], 100, upstream_cost=40, model="a", channel_id=1)
    charge([], 50, upstream_cost=60, model="b", channel_id=2, ended="abandoned", at=now - datetime.timedelta(days=2))
    charge([], 0, upstream_cost=5, ended="failed", model="b", channel_id=2, user_id=8, input_tokens=0, output_tokens=0)
    charge([], 0, upstream_cost=7, type="test", model="a", channel_id=1, user_id=0, token_id=0)
    charge([], 999, at=now - datetime.timedelta(days=30))
    UsageRecord.objects.filter(amount=100).update(refunded=30)


def test_totals_count_what_was_served_and_what_it_earned(a_week: None) -> None:
    sums = reports.totals(reports.day_start(6))

    assert (sums.requests, sums.failed, sums.amount, sums.refunded, sums.upstream_cost) == (2, 1, 150, 30, 112)
    assert (sums.margin, sums.input_tokens, sums.output_tokens, sums.tokens) == (8, 20, 10, 30)


def test_totals_can_be_narrowed_and_end(a_week: None) -> None:
    assert reports.totals(reports.day_start(6), user_id=8).failed == 1
    assert reports.totals(reports.day_start(40), reports.day_start(10)).amount == 999
    assert reports.totals(reports.day_start(6), channel_id=99) == reports.Sums()


def test_every_day_is_there_in_order(a_week: None) -> None:
    days = reports.per_day(reports.day_start(6))

    assert len(days) == 7
    assert [row.key for row in days] == sorted(row.key for row in days)
    assert [row.sums.amount for row in days[4:]] == [50, 0, 100]
    assert days[-1].key == timezone.localdate()


def test_a_day_ends_at_midnight_of_the_time_zone() -> None:
    with timezone.override("Asia/Shanghai"):
        start = reports.day_start()
        charge([], 10, at=start)
        charge([], 5, at=start - datetime.timedelta(microseconds=1))

        assert [row.sums.amount for row in reports.per_day(reports.day_start(1))] == [5, 10]


def test_models_channels_and_users_come_with_the_greatest_first(a_week: None) -> None:
    since = reports.day_start(6)

    assert [(row.key, row.sums.amount) for row in reports.per_model(since)] == [("a", 100), ("b", 50)]
    assert [(row.key, row.sums.margin) for row in reports.per_channel(since)] == [(1, 23), (2, -15)]
    assert [row.key for row in reports.per_user(since, most=1)] == [1]
