"""A month is closed, archived and pruned, in that order; the audit says the same before and after each."""

import datetime
import gzip
import hashlib
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.utils import timezone

from billing.acts import refund
from billing.archive import archive
from billing.audit import audit
from billing.models import Balance, Checkpoint, ClosedMonth, Hold, UsageRecord
from billing.months import CLOSE_AFTER, MonthError, alone, close, close_due, start_of
from billing.partitions import month_after
from billing.prune import prune
from billing.tasks import close_months
from billing.wallets import credit, wallet_of
from tests.billing.months import MONTH, partitions_from
from tests.billing.rows import USD, charge, make_user

pytestmark = pytest.mark.django_db
NEXT = month_after(MONTH)


@pytest.fixture(autouse=True)
def data_folder(settings: LazySettings, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture
def wallet() -> Balance:
    """A user who spent in MONTH, in the one after it, and now; with partitions on PostgreSQL."""
    partitions_from(MONTH)
    user = make_user()
    credit(user, 100 * USD)
    wallet = wallet_of(user.pk)
    for day in range(5):
        charge([wallet], USD, user_id=user.pk, at=start_of(MONTH) + datetime.timedelta(days=day))
    charge([wallet], 0, ended="failed", user_id=user.pk, at=start_of(MONTH))
    charge([wallet], 2 * USD, user_id=user.pk, at=start_of(NEXT) + datetime.timedelta(days=20))
    charge([wallet], 3 * USD, user_id=user.pk)
    wallet.refresh_from_db()
    return wallet


def told() -> list[tuple[bool, int, int]]:
    """What both audits say."""
    reports = [audit(), audit(full=True)]
    assert [one.differences for one in reports] == [[], []]
    return [(one.ok, one.charges, one.charged_nanodollars) for one in reports]


def test_the_audit_is_equal_before_and_after_each_step(wallet: Balance) -> None:
    before = told()
    assert before == [(True, 7, 10 * USD)] * 2

    for month in (MONTH, NEXT):
        close(month)
        assert told() == before
    for month in (MONTH, NEXT):
        archive(month)
        assert told() == before
    for month in (MONTH, NEXT):
        prune(month)
        assert told() == before

    assert audit().closed_until == f"{NEXT:%Y-%m}"
    assert UsageRecord.objects.count() == 1
    assert Balance.objects.get().available == wallet.available
    assert all(one.emptied_at for one in ClosedMonth.objects.all())


def test_a_month_is_closed_once_and_in_its_turn(wallet: Balance) -> None:
    with pytest.raises(MonthError, match=f"{MONTH:%Y-%m} is the next"):
        close(NEXT)
    with pytest.raises(MonthError, match="has not ended"):
        close(timezone.now().date().replace(day=1))

    assert [close(MONTH)[1], close(MONTH)[1]] == [True, False]
    with pytest.raises(MonthError, match=f"{NEXT:%Y-%m} is the next"):
        close(month_after(NEXT))

    assert Checkpoint.objects.get(kind="balance").charges == 5 * USD
    assert Checkpoint.objects.get(kind="channel").requests == 5


def test_the_task_closes_what_ended_some_days_ago(wallet: Balance) -> None:
    due = start_of(month_after(NEXT)) + CLOSE_AFTER
    assert [one.month for one in close_due(due - datetime.timedelta(seconds=1))] == [MONTH]
    assert [one.month for one in close_due(due)] == [NEXT]
    assert close_due(due) == []

    close_months()

    assert ClosedMonth.objects.order_by("-month")[0].month < timezone.now().date().replace(day=1)
    assert told()


def test_one_at_a_time(wallet: Balance) -> None:
    with alone(), pytest.raises(MonthError, match="Another process"):
        close(MONTH)


def test_an_archive_has_every_row_and_its_checksum(wallet: Balance, data_folder: Path) -> None:
    rows = {str(record.id): record for record in UsageRecord.objects.filter(at__lt=start_of(NEXT))}
    close(MONTH)

    closed = archive(MONTH)

    packed = (data_folder / "archive" / "usage-2026-05.jsonl.gz").read_bytes()
    lines = [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    assert (closed.rows, len(lines)) == (6, 6)
    assert {line["id"]: (line["amount"], line["balances"], line["ended"]) for line in lines} == {
        name: (record.amount, record.balances, record.ended) for name, record in rows.items()
    }
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    note = (data_folder / "archive" / "usage-2026-05.jsonl.gz.sha256").read_text()
    assert note.split() == [hashlib.sha256(packed).hexdigest(), "usage-2026-05.jsonl.gz"]
    assert list((data_folder / "archive").glob("*.tmp")) == []


def test_what_is_not_archived_is_not_pruned(wallet: Balance, data_folder: Path) -> None:
    with pytest.raises(MonthError, match="is not closed"):
        prune(MONTH)
    with pytest.raises(MonthError, match="is not closed"):
        archive(MONTH)
    close(MONTH)
    with pytest.raises(MonthError, match="archive it first"):
        prune(MONTH)
    archive(MONTH)
    refund(UsageRecord.objects.order_by("at", "-amount")[0].pk, USD, author=None, reason="r", reference="1")
    with pytest.raises(MonthError, match="archive it first"):
        prune(MONTH)
    closed = archive(MONTH)
    (data_folder / "archive" / closed.archive).write_bytes(b"something else")
    with pytest.raises(MonthError, match="missing or damaged"):
        prune(MONTH)

    archive(MONTH)
    prune(MONTH)

    with pytest.raises(MonthError, match="are gone"):
        archive(MONTH)
    assert told()


def test_the_oldest_month_goes_first(wallet: Balance) -> None:
    close(MONTH)
    close(NEXT)
    archive(NEXT)

    with pytest.raises(MonthError, match=f"{MONTH:%Y-%m} is the oldest"):
        prune(NEXT)


def test_rows_that_are_not_what_the_checkpoints_say_are_not_archived(wallet: Balance) -> None:
    close(MONTH)
    Checkpoint.objects.filter(kind="balance").update(charges=1)

    with pytest.raises(MonthError, match="full audit"):
        archive(MONTH)

    assert {one.check for one in audit().differences} == {"equation"}
    assert {one.check for one in audit(full=True).differences} == {"checkpoint"}


def test_an_open_hold_keeps_its_month(wallet: Balance) -> None:
    inside = uuid.UUID(int=int((start_of(NEXT).timestamp() - 1) * 1000) << 80 | 0x7 << 76 | 0b10 << 62)
    hold = Hold.objects.create(hold_id=inside, balance=wallet, amount=0, job="batch 7", deadline=timezone.now())
    close(MONTH)
    archive(MONTH)

    with pytest.raises(MonthError, match="batch 7"):
        prune(MONTH)
    assert ClosedMonth.objects.get().pruned_at is None

    hold.delete()
    prune(MONTH)


def test_a_charge_of_a_pruned_month_is_not_refunded(wallet: Balance) -> None:
    record = UsageRecord.objects.order_by("at", "-amount")[0]
    gone = uuid.UUID(int=int(start_of(MONTH).timestamp() * 1000) << 80 | 0x7 << 76 | 0b10 << 62)
    refund(record.pk, USD // 2, author=None, reason="r", reference="1")
    close(MONTH)
    archive(MONTH)
    ClosedMonth.objects.update(pruned_at=timezone.now())  # its rows are on their way out

    with pytest.raises(ValueError, match="cannot be refunded any more"):
        refund(record.pk, USD // 2, author=None, reason="r", reference="2")
    prune(MONTH)

    assert not UsageRecord.objects.filter(pk=record.pk).exists()
    with pytest.raises(ValueError, match="cannot be refunded any more"):
        refund(gone, None, author=None, reason="r", reference="3")
    with pytest.raises(ValueError, match="no charge with this id"):
        refund(uuid.uuid4(), None, author=None, reason="r", reference="4")
    assert told()


def test_a_removal_that_was_broken_off_goes_on(wallet: Balance, monkeypatch: pytest.MonkeyPatch) -> None:
    before = told()
    close(MONTH)
    archive(MONTH)

    def broken(_month: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("billing.prune._empty", broken)
        with pytest.raises(KeyboardInterrupt):
            prune(MONTH)
    assert UsageRecord.objects.filter(at__lt=start_of(NEXT)).exists()
    assert told() == before

    close_months()

    assert not UsageRecord.objects.filter(at__lt=start_of(NEXT)).exists()
    assert told() == before


def run(*words: str) -> Any:
    out = io.StringIO()
    call_command("month", *words, "--json", stdout=out, stderr=out)
    return json.loads(out.getvalue())


def test_the_command(wallet: Balance) -> None:
    name = f"{MONTH:%Y-%m}"

    assert [run("close", "--month", name)["repeated"] for _time in range(2)] == [False, True]
    assert run("archive", "--month", name)["rows"] == 6
    assert [(one["month"], one["archived"], one["pruned_at"]) for one in run("list")] == [(name, True, None)]
    assert run("prune", "--month", name)["emptied_at"]
    with pytest.raises(SystemExit):
        call_command("month", "archive", "--month", name, stdout=io.StringIO(), stderr=io.StringIO())
