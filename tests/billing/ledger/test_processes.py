"""Processes that die give their leases back when the next one starts; living ones keep theirs."""

import pytest

from billing.ledger.processes import Slot, SlotTaken
from billing.ledger.reserve import Ledger
from billing.models import Balance, Lease, Process
from tests.billing.ledger.conftest import WALLET, die, differences, fund
from tests.orm import in_thread


async def test_the_leases_of_the_dead_are_reclaimed_at_the_start(ledger_config):
    await in_thread(fund, WALLET, 1000)
    first = Ledger(ledger_config)
    await first.start()
    charge = await first.admit([WALLET], 700, 700)
    assert charge.open
    await die(first)
    assert (await in_thread(Balance.objects.get)).available < 1000
    second = Ledger(ledger_config)
    await second.start()
    try:
        assert (await in_thread(Balance.objects.get)).available == 1000
        assert not await in_thread(Lease.objects.exists)
        assert (await in_thread(Process.objects.get, boot_id=first.boot_id)).fenced
    finally:
        await second.stop(5)
    assert await in_thread(differences) == []


async def test_the_leases_of_the_living_are_left_alone(ledger_config):
    await in_thread(fund, WALLET, 1000)
    first, second = Ledger(ledger_config), Ledger(ledger_config)
    await first.start()
    charge = await first.admit([WALLET], 700, 700)
    await second.start()
    assert not (await in_thread(Process.objects.get, boot_id=first.boot_id)).fenced
    assert charge.reserved == 700
    await second.stop(5)
    first.release(charge)
    await first.stop(5)
    assert (await in_thread(Balance.objects.get)).available == 1000


def test_a_slot_belongs_to_one_process_at_a_time(tmp_path):
    first = Slot.first_free(tmp_path)
    assert first.number == 0
    assert Slot.first_free(tmp_path).number == 1
    with pytest.raises(SlotTaken):
        Slot.take(tmp_path, 0)
    first.release()
    assert Slot.take(tmp_path, 0).number == 0
