"""Money for work that outlives its request is set aside before the work begins, and belongs to no process."""

import datetime

import pytest

from billing.ledger.errors import Closed
from billing.ledger.store import ConnectionLost
from billing.models import Hold, Lease
from tests.billing.ledger.conftest import TOKEN, WALLET, differences, fund, until
from tests.orm import in_thread

LATER = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


async def test_a_hold_takes_the_reserve_out_of_the_process(ledger):
    await in_thread(fund, WALLET, 1000)
    await in_thread(fund, TOKEN, 500)
    async with ledger.reserve([TOKEN, WALLET], 300, 300) as charge:
        hold = await ledger.hold(charge, "batch 7", LATER)
    assert ledger.reserved_total == 0
    assert ledger.open_charges == 0
    held = await in_thread(lambda: sorted(Hold.objects.values_list("hold_id", "amount", "job")))
    assert held == [(hold, 300, "batch 7")] * 2

    async def idle():
        return not await in_thread(Lease.objects.exists)

    await until(idle)
    assert await in_thread(differences) == []


async def test_a_hold_that_fails_leaves_the_reserve(ledger, monkeypatch):
    await in_thread(fund, WALLET, 1000)

    def lost(_ask):
        raise ConnectionLost("gone")

    async with ledger.reserve([WALLET], 300, 300) as charge:
        monkeypatch.setattr(ledger._store, "hold", lost)
        with pytest.raises(Closed):
            await ledger.hold(charge, "batch 8", LATER)
        assert ledger.reserved_total == 300
    assert ledger.reserved_total == 0
    assert not await in_thread(Hold.objects.exists)
    assert await in_thread(differences) == []
