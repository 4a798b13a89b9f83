"""A process that was declared dead settles what it has served, and starts over; nobody fences the living."""

import pytest
from django.utils import timezone

from billing.ledger import reaper
from billing.ledger.errors import Closed
from billing.ledger.processes import Slot
from billing.ledger.reserve import Ledger
from billing.models import Balance, Lease, Process, UsageRecord
from tests.billing.ledger.conftest import WALLET, differences, facts, fund, until
from tests.orm import in_thread


@pytest.fixture
def clock(monkeypatch):
    """The reaper's clock, set by the test."""
    hands = {"now": 1000.0}
    monkeypatch.setattr(reaper, "boot_time", lambda: hands["now"])
    return hands


@pytest.fixture
async def watcher(ledger_config, clock):
    """The reaper of a process whose own writer is not asked."""
    watching = Ledger(ledger_config)
    await watching.start()
    yield reaper.Reaper(watching._store, ledger_config.data_dir / "elsewhere", Slot.first_free(ledger_config.data_dir / "elsewhere"))
    await watching.stop(5)


def silent(boot_id="s" * 32):
    """The row of a process on another host."""
    return Process.objects.create(boot_id=boot_id, slot=0, host="elsewhere:/data", beat=7, session=1, started_at=timezone.now())


async def look(watcher, clock, *moments):
    for moment in moments:
        clock["now"] = 1000.0 + moment
        await in_thread(watcher.look)


async def is_fenced(boot_id):
    return (await in_thread(Process.objects.get, boot_id=boot_id)).fenced


async def test_a_fenced_process_settles_late_and_starts_over(ledger, ledger_config):
    await in_thread(fund, WALLET, 1000)
    other = Ledger(ledger_config)
    await other.start()
    before = ledger.boot_id
    async with ledger.reserve([WALLET], 600, 600) as charge:
        assert await in_thread(other._store.reap, before)
        assert (await in_thread(Balance.objects.get)).available == 1000
        await ledger.settle(charge, facts(550))
    assert (await in_thread(Balance.objects.get)).available == 450

    async def started_over():
        return ledger.boot_id != before

    await until(started_over)
    async with ledger.reserve([WALLET], 400, 400) as charge:
        await ledger.settle(charge, facts(400))
    assert await in_thread(UsageRecord.objects.count) == 2
    assert await in_thread(differences) == []
    await other.stop(5)


async def test_what_was_reserved_in_the_old_life_is_not_given_to_the_new_one(ledger, ledger_config):
    await in_thread(fund, WALLET, 1000)
    before = ledger.boot_id
    async with ledger.reserve([WALLET], 600, 600):
        await in_thread(ledger._store.reap, before)

        async def started_over():
            return ledger.boot_id != before

        await until(started_over)
        async with ledger.reserve([WALLET], 1000, 1000):
            assert ledger.reserved_total == 1000
    assert ledger.reserved_total == 0
    assert await in_thread(differences) == []


async def test_who_waited_for_money_in_the_old_life_is_told_to_come_again(ledger):
    book = ledger._book
    book.close("over")
    with pytest.raises(Closed):
        await book.reserve(WALLET, 5)


async def test_a_beat_that_stands_still_for_fifteen_seconds_is_death(watcher, clock):
    row = await in_thread(silent)
    await look(watcher, clock, *range(15))
    assert not await is_fenced(row.boot_id)
    await look(watcher, clock, 15)
    assert await is_fenced(row.boot_id)


async def test_a_gap_between_looks_starts_the_wait_anew(watcher, clock):
    row = await in_thread(silent)
    await look(watcher, clock, *range(14), 17, *range(18, 31))
    assert not await is_fenced(row.boot_id)
    await look(watcher, clock, 31, 32)
    assert await is_fenced(row.boot_id)


async def test_a_beat_that_rises_is_life(watcher, clock):
    row = await in_thread(silent)
    for moment in range(40):
        await look(watcher, clock, moment)
        if moment % 10 == 9:
            await in_thread(Process.objects.filter(pk=row.pk).update, beat=8 + moment)
    assert not await is_fenced(row.boot_id)


async def test_a_process_that_beats_just_then_is_not_fenced(watcher):
    row = await in_thread(silent)
    assert not await in_thread(watcher._store.reap, row.boot_id, row.beat - 1)
    assert not await is_fenced(row.boot_id)
    assert not await in_thread(Lease.objects.filter(boot_id=row.boot_id).exists)
