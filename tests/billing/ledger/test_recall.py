"""Money that one process holds and does not need is not refused to another."""

import asyncio
import time

import pytest
from django.db import connection

from billing import wallets
from billing.ledger.errors import NotEnough
from billing.ledger.reserve import Ledger
from billing.models import Balance, Lease
from billing.wallets import recall
from tests.billing.ledger.conftest import TOKEN, WALLET, differences, facts, fund, until
from tests.orm import in_thread


@pytest.fixture
async def pair(ledger_config):
    """Two processes that keep idle leases for a minute."""
    both = [Ledger(ledger_config._replace(lease_idle=60)) for _ in range(2)]
    for one in both:
        await one.start()
    yield both
    for one in both:
        await one.stop(5)


async def spent(ledger, amount, key=WALLET):
    async with ledger.reserve([key], amount, amount) as charge:
        await ledger.settle(charge, facts(amount))


async def is_served(ledger, amount):
    try:
        await spent(ledger, amount)
    except NotEnough:
        return False
    return True


async def test_what_an_idle_process_holds_comes_back(pair):
    first, second = pair
    await in_thread(fund, WALLET, 1000)
    async with first.reserve([WALLET], 900, 900):
        pass
    assert (await in_thread(Lease.objects.get)).remaining >= 900
    asked = time.monotonic()
    if connection.vendor == "postgresql":
        assert await is_served(second, 1000)
        assert time.monotonic() - asked < 2
    else:  # nobody is notified: the holder looks at each beat
        await until(lambda: is_served(second, 1000))
    assert await in_thread(differences) == []


async def test_what_a_request_has_reserved_does_not_come_back(pair):
    first, second = pair
    await in_thread(fund, WALLET, 1000)
    async with first.reserve([WALLET], 900, 900) as charge:
        with pytest.raises(NotEnough):
            await spent(second, 200)
        await first.settle(charge, facts(900))
    await until(lambda: is_served(second, 100))
    assert await in_thread(differences) == []


async def test_who_asks_in_turn_is_never_refused_the_last_of_it(pair):
    if connection.vendor == "sqlite":
        pair = pair[:1]  # the embedded mode has one process
    await in_thread(fund, WALLET, 40 * 25)
    for number in range(40):
        assert await is_served(pair[number % len(pair)], 25), number
    assert not await is_served(pair[0], 1)
    assert await in_thread(differences) == []


async def test_an_operator_recalls_what_is_leased(pair):
    await in_thread(fund, WALLET, 1000)
    async with pair[0].reserve([WALLET], 900, 900):
        pass
    balance = await in_thread(Balance.objects.get)
    await in_thread(recall, balance.pk)

    async def all_back():
        return (await in_thread(Balance.objects.get)).available == 1000

    await until(all_back, 5)


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda: wallets.set_limit("token", 1, 400), id="lower limit"),
        pytest.param(lambda: wallets.remove_limit("token", 1), id="no limit"),
    ],
)
async def test_an_edit_of_a_limit_recalls_what_is_leased_of_it(pair, act):
    await in_thread(fund, TOKEN, 1000)
    async with pair[0].reserve([TOKEN], 900, 900):
        pass
    await in_thread(act)

    async def all_back():
        balance = await in_thread(Balance.objects.get)
        return balance.available == balance.limit

    await until(all_back, 5)
    assert await in_thread(differences) == []


async def test_the_last_cents_wait_for_the_answer_of_who_holds_the_rest(pair):
    first, second = pair
    await in_thread(fund, WALLET, 1000)
    async with first.reserve([WALLET], 700, 700):

        async def takes_the_rest():
            try:
                async with second.reserve([WALLET], 5000, 100) as charge:
                    return charge.reserved == 300
            except NotEnough:
                return False

        await until(takes_the_rest)
    assert await in_thread(differences) == []


async def test_one_process_at_a_time_has_the_last_cents(pair):
    await in_thread(fund, TOKEN, 150)
    taken = []

    async def ask(ledger):
        try:
            async with ledger.reserve([TOKEN], 1000, 40) as charge:
                taken.append(charge.reserved)
                await asyncio.sleep(0.3)
        except NotEnough:
            taken.append(0)

    await asyncio.gather(*(ask(ledger) for ledger in pair for _ in range(5)))
    assert sorted(taken)[-2:] == [0, 150]
    assert await in_thread(differences) == []


async def test_the_input_is_counted_where_its_bound_is_the_obstacle(pair):
    await in_thread(fund, WALLET, 150)

    async def counted():
        return 120

    async with pair[0].reserve([WALLET], 1000, 900, counted) as charge:
        assert charge.reserved == 150
    with pytest.raises(NotEnough):
        async with pair[0].reserve([WALLET], 1000, 900, lambda: asyncio.sleep(0, 151)):
            pass
