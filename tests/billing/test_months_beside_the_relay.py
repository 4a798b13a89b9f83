"""Closing, archiving and pruning a large month let the others write: nobody waits long for SQLite's one lock, or PostgreSQL's of a table."""

import datetime
import threading
import time
import uuid
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.db.models import F

from billing.archive import archive
from billing.audit import audit
from billing.models import Balance, Counter, UsageRecord
from billing.months import close, start_of
from billing.prune import prune
from billing.wallets import credit, wallet_of
from tests.billing.months import MONTH, partitions_from
from tests.billing.rows import USD, charge, make_user

pytestmark = pytest.mark.django_db(transaction=True)
ROWS = 20_000
BOUND = 0.05  # seconds


def test_a_writer_beside_it_does_not_wait(settings: LazySettings, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    partitions_from(MONTH)
    user = make_user()
    credit(user, 100_000 * USD)
    wallet = wallet_of(user.pk)
    first = charge([wallet], 1, user_id=user.pk, at=start_of(MONTH))
    kept = charge([wallet], 1, user_id=user.pk)
    copies = [
        UsageRecord(**{**_columns(first), "id": uuid.uuid4(), "at": first.at + datetime.timedelta(minutes=number)}) for number in range(1, ROWS)
    ]
    UsageRecord.objects.bulk_create(copies, batch_size=500)
    Balance.objects.update(available=F("available") - (ROWS - 1))
    Counter.objects.update(amount=F("amount") + ROWS - 1, requests=F("requests") + ROWS - 1)
    waits: list[float] = []
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            begun = time.monotonic()
            with transaction.atomic():
                UsageRecord.objects.filter(pk=kept.pk, at=kept.at).update(status=200)
            waits.append(time.monotonic() - begun)
            time.sleep(0.001)
        connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        close(MONTH)
        archive(MONTH)
        prune(MONTH)
    finally:
        done.set()
        writer.join()

    assert UsageRecord.objects.count() == 1
    assert audit(full=True).ok
    # Of the longest waits a few belong to the disk and to a busy machine.
    assert sorted(waits)[int(len(waits) * 0.99)] < BOUND, sorted(waits)[-20:]


def _columns(record: UsageRecord) -> dict[str, object]:
    return {field.attname: getattr(record, field.attname) for field in UsageRecord._meta.concrete_fields}
