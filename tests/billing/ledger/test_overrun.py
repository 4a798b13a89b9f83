"""Below zero leads only what docs/ledger.md §3 allows: a cost above its reserve, and the last cents of a balance."""

import asyncio

import pytest

from billing.ledger.errors import NotEnough
from billing.models import Balance
from tests.billing.ledger.conftest import WALLET, differences, facts, fund
from tests.orm import in_thread


async def test_a_cost_above_its_reserve_is_charged_in_full(ledger):
    await in_thread(fund, WALLET, 1000)
    async with ledger.reserve([WALLET], 600, 600) as charge:
        await ledger.settle(charge, facts(1500))
    with pytest.raises(NotEnough):
        async with ledger.reserve([WALLET], 1, 1):
            pass
    assert await in_thread(differences) == []


async def test_one_request_may_take_the_last_cents(ledger):
    await in_thread(fund, WALLET, 150)
    outcomes = []

    async def ask():
        try:
            async with ledger.reserve([WALLET], 1000, 40) as charge:
                await asyncio.sleep(0.05)
                await ledger.settle(charge, facts(180))
                outcomes.append(charge.reserved)
        except NotEnough:
            outcomes.append(0)

    await asyncio.gather(*(ask() for _ in range(20)))
    assert sorted(outcomes)[-2:] == [0, 150]
    assert await in_thread(differences) == []
    balance = await in_thread(Balance.objects.get)
    assert balance.last_cents is None


async def test_the_input_must_fit_into_the_last_cents(ledger):
    await in_thread(fund, WALLET, 150)
    with pytest.raises(NotEnough):
        async with ledger.reserve([WALLET], 1000, 151):
            pass


async def test_last_cents_that_were_not_used_can_be_taken_again(ledger):
    await in_thread(fund, WALLET, 150)
    for _ in range(3):
        async with ledger.reserve([WALLET], 1000, 40) as charge:
            assert charge.reserved == 150
        await asyncio.sleep(0.1)
    assert await in_thread(differences) == []
