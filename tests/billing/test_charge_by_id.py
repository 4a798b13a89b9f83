"""A charge is found by the time inside its id, so that on PostgreSQL one partition is touched, whatever months there are."""

import re

import pytest
from django.db import connection
from django.utils import timezone

from billing.ledger.records import uuid7
from billing.models import UsageRecord
from tests.billing.rows import charge

pytestmark = pytest.mark.django_db


def test_it_is_found_with_and_without_a_time_in_its_id() -> None:
    now = timezone.now()
    timed, other = charge([], 1, id=uuid7(int(now.timestamp() * 1000)), at=now), charge([], 1)

    assert UsageRecord.objects.with_id(timed.pk).get() == timed
    assert UsageRecord.objects.with_id(other.pk).get() == other


def test_at_most_one_partition_is_touched() -> None:
    plan = UsageRecord.objects.with_id(uuid7(int(timezone.now().timestamp() * 1000))).explain()

    partitions = set(re.findall(r"billing_usagerecord_(?:\d{4}_\d\d|default)\b", plan))
    assert partitions == ({f"billing_usagerecord_{timezone.now():%Y_%m}"} if connection.vendor == "postgresql" else set())
