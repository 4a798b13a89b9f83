"""Money that is not there is not spent, whatever the concurrency; what is not used goes back."""

import asyncio

import pytest
from django.db import connection

from billing.ledger.errors import NotEnough
from billing.ledger.reserve import Ledger
from billing.models import Balance, Lease, UsageRecord
from tests.billing.ledger.conftest import TOKEN, WALLET, differences, facts, fund
from tests.orm import in_thread


async def spend(ledger, keys, amount, cost):
    try:
        async with ledger.reserve(keys, amount, amount) as charge:
            await asyncio.sleep(0.005)
            await ledger.settle(charge, facts(cost))
    except NotEnough:
        return 0
    return 1


async def test_a_balance_for_ten_gives_exactly_ten_of_two_hundred_at_once(ledger):
    await in_thread(fund, WALLET, 1000)
    await in_thread(fund, TOKEN, 10**9)
    served = await asyncio.gather(*(spend(ledger, [TOKEN, WALLET], 100, 100) for _ in range(200)))
    assert sum(served) == 10
    assert ledger.reserved_total == 0
    assert ledger.open_charges == 0
    assert await in_thread(differences) == []
    assert await in_thread(UsageRecord.objects.count) == 10


async def test_two_processes_share_a_balance_without_spending_it_twice(ledger, ledger_config):
    await in_thread(fund, WALLET, 1000)
    other = Ledger(ledger_config)
    await other.start()
    try:
        served = await asyncio.gather(*(spend(one, [WALLET], 100, 100) for _ in range(100) for one in (ledger, other)))
    finally:
        await other.stop(5)
    assert sum(served) == 10 if connection.vendor == "postgresql" else sum(served) <= 10  # SQLite has one process, which hears no other
    assert await in_thread(differences) == []


async def test_a_refusal_by_the_wallet_releases_the_token(ledger):
    await in_thread(fund, WALLET, 50)
    await in_thread(fund, TOKEN, 10**9)
    with pytest.raises(NotEnough) as refusal:
        async with ledger.reserve([TOKEN, WALLET], 100, 100):
            pass
    assert refusal.value.kind == "wallet"
    assert refusal.value.left == 50
    assert ledger.reserved_total == 0
    assert ledger.open_charges == 0


async def test_a_balance_that_does_not_exist_refuses(ledger):
    with pytest.raises(NotEnough):
        async with ledger.reserve([WALLET], 1, 1):
            pass


async def test_what_was_not_settled_goes_back(ledger):
    await in_thread(fund, WALLET, 1000)
    for _ in range(30):
        async with ledger.reserve([WALLET], 900, 900):
            pass
    assert ledger.reserved_total == 0
    assert await spend(ledger, [WALLET], 1000, 10) == 1
    assert await in_thread(differences) == []


async def test_a_cancelled_request_leaves_no_reserve(ledger):
    await in_thread(fund, WALLET, 1000)

    async def hang():
        async with ledger.reserve([WALLET], 10, 10):
            await asyncio.sleep(60)

    tasks = [asyncio.ensure_future(hang()) for _ in range(100)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ledger.reserved_total == 0
    assert ledger.open_charges == 0


async def test_idle_leases_go_back_to_their_balance(ledger):
    await in_thread(fund, WALLET, 1000)
    assert await spend(ledger, [WALLET], 500, 100) == 1
    for _ in range(50):
        await asyncio.sleep(0.1)
        if not await in_thread(Lease.objects.exists):
            break
    balance = await in_thread(Balance.objects.get)
    assert balance.available == 900


async def test_an_unlimited_caller_names_no_balance(ledger):
    async with ledger.reserve([], 10**12, 10**12) as charge:
        await ledger.settle(charge, facts(77))
    record = await in_thread(UsageRecord.objects.get)
    assert record.balances == []
    assert record.amount == 77
