"""What belongs to a pruned month is refused, for nobody could see any more whether it was booked before; it is kept for the operator."""

import asyncio

import pytest
from django.core import mail
from django.utils import timezone

from billing.archive import archive
from billing.audit import audit
from billing.holds import expire_holds
from billing.ledger.errors import NotBooked
from billing.ledger.journal import Orphan, refused
from billing.ledger.records import Booking, uuid7
from billing.ledger.reserve import Ledger, LedgerConfig
from billing.ledger.store import Store, TooOld
from billing.models import Balance, ClosedMonth, UsageRecord
from billing.months import MonthError, close, start_of
from billing.partitions import month_after
from billing.prune import prune
from billing.tasks import report_refused_charges
from tests.billing.ledger.conftest import WALLET, die, differences, facts, fund
from tests.billing.months import MONTH, booking, partitions_from, store_of
from tests.billing.rows import at_once
from tests.orm import in_thread


@pytest.fixture(autouse=True)
def data_folder(settings, tmp_path):
    settings.DATA_DIR, settings.ALERT_EMAILS = tmp_path, ["ops@example.com"]


@pytest.fixture
def store(ledger_config):
    partitions_from(MONTH)
    opened = store_of(ledger_config)
    yield opened
    opened.close()


def booked(config: LedgerConfig, batch: list[Booking]) -> int:
    """What a process books that is gone at once."""
    store = store_of(config)
    try:
        return store.settle(batch)
    finally:
        store.close()


def remove() -> None:
    close(MONTH)
    archive(MONTH)
    prune(MONTH)


def adds_up() -> bool:
    return differences() == [] and audit().ok and audit(full=True).ok


def test_a_replay_after_the_rows_are_gone_is_never_booked_twice(store: Store):
    wallet = fund(WALLET, 1000)
    batch = [booking(wallet.pk, 100), booking(wallet.pk, 30, month=None)]
    store.settle(batch)
    remove()
    assert UsageRecord.objects.count() == 1

    for late in (batch, batch[:1], [booking(wallet.pk, 1, month=month_after(MONTH, -2))]):
        with pytest.raises(TooOld):
            store.settle(late)
    assert store.settle(batch[1:]) == 0

    assert UsageRecord.objects.count() == 1
    assert Balance.objects.get().available == 1000 - 130
    assert adds_up()


def test_while_its_rows_go_a_month_takes_none(store: Store):
    wallet = fund(WALLET, 1000)
    store.settle([booking(wallet.pk, 100)])
    close(MONTH)
    archive(MONTH)
    ClosedMonth.objects.update(pruned_at=timezone.now())

    with pytest.raises(TooOld):
        store.settle([booking(wallet.pk, 1)])

    assert adds_up()
    prune(MONTH)
    assert adds_up()


async def test_a_refused_charge_harms_nobody_else_and_is_kept(ledger_config, ledger):
    balance = await in_thread(fund, WALLET, 1000)
    await in_thread(partitions_from, MONTH)
    await in_thread(booked, ledger_config, [booking(balance.pk, 100)])
    await in_thread(remove)
    old = uuid7(int(start_of(MONTH).timestamp() * 1000))

    async def one():
        async with ledger.reserve([WALLET], 50, 50) as charge:
            await asyncio.sleep(0.02)
            await ledger.settle(charge, facts(10))

    outcomes = await asyncio.gather(one(), ledger.settle_hold(old, (balance.pk,), facts(7)), one(), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None), NotBooked, type(None)]
    (file,) = refused(ledger_config.data_dir / "journal")
    assert [kept.id for kept in await in_thread(lambda: Orphan(file).read())] == [old]
    assert await in_thread(adds_up)


async def test_a_journal_that_is_too_old_is_set_aside_and_raises_one_alarm(ledger_config, transactional_db):
    balance = await in_thread(fund, WALLET, 1000)
    await in_thread(partitions_from, MONTH)
    batch = [booking(balance.pk, 100), booking(balance.pk, 30, month=None)]
    await in_thread(booked, ledger_config, batch[:1])
    dying = Ledger(ledger_config)
    await dying.start()
    await in_thread(dying._journal.append, batch)
    await die(dying)
    await in_thread(remove)

    again = Ledger(ledger_config)
    await again.start()
    await again.stop(5)

    assert await in_thread(lambda: [record.id for record in UsageRecord.objects.all()]) == [batch[1].id]
    assert len(refused(ledger_config.data_dir / "journal")) == 1
    assert await in_thread(adds_up)
    await in_thread(report_refused_charges)
    await in_thread(report_refused_charges)
    (message,) = mail.outbox
    assert dying.boot_id in message.body


def test_late_charges_race_with_the_removal(ledger_config):
    """Each is either in the archive and the checkpoints, or refused; none is lost between both."""
    partitions_from(MONTH)
    wallet = fund(WALLET, 10**6)
    stores = [store_of(ledger_config, f"{number:032d}", number) for number in range(3)]
    stores[0].settle([booking(wallet.pk, 10) for _ in range(20)])
    close(MONTH)

    def act(number: int) -> int:
        if number == 3:
            for _ in range(200):
                archive(MONTH)
                try:
                    prune(MONTH)
                except MonthError:
                    continue
                return 0
        booked = 0
        for _ in range(200):
            try:
                booked += stores[number].settle([booking(wallet.pk, 10)])
            except TooOld:
                return booked
        return booked

    outcomes = at_once(4, act)

    for store in stores:
        store.close()
    assert all(isinstance(one, int) for one in outcomes), outcomes
    if ClosedMonth.objects.get().pruned_at is None:  # the charges were quicker to the end
        archive(MONTH)
        prune(MONTH)
    assert Balance.objects.get().available == 10**6 - 10 * (20 + sum(outcomes))
    assert ClosedMonth.objects.get().rows == 20 + sum(outcomes)
    assert not UsageRecord.objects.exists()
    assert adds_up()


def test_an_expired_holds_result_is_charged_until_its_month_goes(store: Store):
    wallet = fund(WALLET, 1000)
    late = booking(wallet.pk, 100, boot_id="")
    assert expire_holds() == []
    close(MONTH)
    assert store.settle([late]) == 1
    assert Balance.objects.get().available == 900
    archive(MONTH)
    prune(MONTH)

    with pytest.raises(TooOld):
        store.settle([late])
    assert adds_up()
