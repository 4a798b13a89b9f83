"""Budgets by day, week and month: a balance a period, made by the first request in it, and edits that move what is under way."""

import asyncio
import threading
import time

import pytest
from django.db import transaction

from billing.audit import audit
from billing.budgets import calendar, set_budgets, standings
from billing.ledger.errors import NotEnough
from billing.ledger.records import BalanceKey
from billing.ledger.reserve import Ledger
from billing.models import Balance, Budget, Lease, LimitChange, UsageRecord
from billing.periods import period_of
from tests.billing.ledger.conftest import WALLET, differences, facts, fund, until
from tests.orm import in_thread


def today(kind="user_day", subject=1):
    return BalanceKey(kind, subject, calendar().running(time.time())[period_of(kind)].first)


async def spend(ledger, keys, amount, cost=None):
    """1, or the kind of the balance that refuses."""
    try:
        async with ledger.reserve(keys, amount, amount) as charge:
            await asyncio.sleep(0.002)
            await ledger.settle(charge, facts(amount if cost is None else cost))
    except NotEnough as refusal:
        return refusal.kind
    return 1


async def allow(**limits):
    await in_thread(set_budgets, "user", 1, limits)


async def test_the_first_request_of_a_period_makes_its_balance_and_names_it(ledger):
    await allow(day=1000)
    assert await in_thread(Balance.objects.count) == 0
    assert await spend(ledger, [today()], 300) == 1
    balance = await in_thread(Balance.objects.get)
    assert (balance.kind, balance.subject, balance.period, balance.limit) == ("user_day", 1, today().period, 1000)
    assert (await in_thread(UsageRecord.objects.get)).balances == [balance.pk]
    (standing,) = await in_thread(standings, "user", 1)
    assert (standing.period, standing.limit, standing.remaining, standing.used) == ("day", 1000, 700, 300)


async def test_a_budget_for_ten_gives_exactly_ten_of_two_hundred_at_once(ledger):
    await allow(day=1000, month=10**9)
    await in_thread(fund, WALLET, 10**9)
    keys = [WALLET, today(), today("user_month")]
    served = await asyncio.gather(*(spend(ledger, keys, 100) for _ in range(200)))
    assert served.count(1) == 10
    assert served.count("user_day") == 190
    assert ledger.reserved_total == 0
    assert await in_thread(differences) == []


async def test_processes_that_open_a_period_at_once_make_one_balance(ledger, ledger_config):
    await allow(day=1000)
    others = [Ledger(ledger_config) for _ in range(3)]
    for one in others:
        await one.start()
    try:
        served = await asyncio.gather(*(spend(one, [today()], 100) for _ in range(30) for one in (ledger, *others)))
    finally:
        for one in others:
            await one.stop(5)
    assert served.count(1) <= 10
    while await spend(ledger, [today()], 100) == 1:  # what idle processes gave back
        served.append(1)
    assert served.count(1) == 10
    assert await in_thread(Balance.objects.count) == 1
    assert await in_thread(differences) == []


async def test_each_period_begins_with_the_whole_budget(ledger):
    await allow(day=100)
    for day in ("2026-03-01", "2026-03-02"):
        assert await spend(ledger, [BalanceKey("user_day", 1, day)], 100) == 1
        assert await spend(ledger, [BalanceKey("user_day", 1, day)], 1) == "user_day"
    assert await in_thread(differences) == []


async def test_an_edit_moves_the_period_under_way_and_keeps_what_was_spent(ledger):
    await allow(day=100)
    assert await spend(ledger, [today()], 100) == 1
    await allow(day=150)
    assert await spend(ledger, [today()], 51) == "user_day"
    await until(lambda: _served(ledger, 50))
    await allow(day=20)  # below what was spent
    assert await spend(ledger, [today()], 1) == "user_day"
    (standing,) = await in_thread(standings, "user", 1)
    assert (standing.limit, standing.remaining, standing.used) == (20, -130, 150)
    assert await in_thread(lambda: list(LimitChange.objects.order_by("pk").values_list("amount", flat=True))) == [50, -130]
    assert await in_thread(differences) == []


async def _served(ledger, amount):
    return await spend(ledger, [today()], amount) == 1


async def test_a_smaller_budget_waits_for_no_request_in_flight(ledger):
    await allow(day=1000)
    async with ledger.reserve([today()], 800, 800) as charge:
        await allow(day=100)
        assert await spend(ledger, [today()], 1) == "user_day"
        await ledger.settle(charge, facts(800))
    (standing,) = await in_thread(standings, "user", 1)
    assert standing.remaining == -700
    assert await in_thread(differences) == []


async def test_a_budget_that_was_removed_limits_nothing_though_the_relay_still_names_it(ledger):
    await allow(day=0)
    assert await spend(ledger, [today()], 1) == "user_day"
    await allow(day=None)
    await in_thread(fund, WALLET, 100)
    later = BalanceKey("user_day", 1, "2199-01-01")
    assert await spend(ledger, [WALLET, later], 60) == 1
    assert (await in_thread(UsageRecord.objects.get)).balances == [(await in_thread(Balance.objects.get, kind="wallet")).pk]
    assert await in_thread(differences) == []


async def test_what_was_spent_without_a_budget_does_not_count_when_it_comes_back(ledger):
    await allow(day=100)
    assert await spend(ledger, [today()], 40) == 1
    await allow(day=None)
    await in_thread(fund, WALLET, 1000)
    assert await spend(ledger, [WALLET], 500) == 1
    await allow(day=90)
    await until(lambda: _served(ledger, 50))
    assert await spend(ledger, [today()], 1) == "user_day"
    assert await in_thread(differences) == []


async def test_a_refusal_by_a_budget_releases_the_wallet(ledger):
    await allow(week=50)
    await in_thread(fund, WALLET, 1000)
    assert await spend(ledger, [WALLET, today("user_week")], 60) == "user_week"
    assert ledger.reserved_total == 0
    assert ledger.open_charges == 0


async def test_the_last_cents_of_a_budget_go_to_one_request(ledger):
    await allow(day=100)
    async with ledger.reserve([today()], 500, 10) as charge:
        assert charge.reserved == 100
        assert await spend(ledger, [today()], 500) == "user_day"
        await ledger.settle(charge, facts(130))
    (standing,) = await in_thread(standings, "user", 1)
    assert standing.remaining == -30
    assert await in_thread(differences) == []


async def test_an_idle_budget_has_no_lease_left(ledger):
    await allow(day=1000)
    assert await spend(ledger, [today()], 10) == 1

    async def given_back():
        return not await in_thread(Lease.objects.exists)

    await until(given_back)
    assert (await in_thread(Balance.objects.get)).available == 990


async def test_a_period_is_not_opened_with_a_figure_that_is_being_edited(ledger):
    """The edit has the budget's row; the request waits for it, and the period begins with the new figure."""
    await allow(day=1000)
    edited, go_on = threading.Event(), threading.Event()

    def edit():
        with transaction.atomic():
            set_budgets("user", 1, {"day": 200})
            edited.set()
            assert go_on.wait(5)

    editing = asyncio.create_task(in_thread(edit))
    await asyncio.to_thread(edited.wait, 5)
    request = asyncio.create_task(spend(ledger, [today()], 300))
    await asyncio.sleep(0.2)
    assert not request.done()
    go_on.set()
    await editing
    assert await request == "user_day"
    assert (await in_thread(Balance.objects.get)).limit == 200


async def test_edits_of_several_budgets_beside_requests_deadlock_nowhere(ledger):
    """Requests ask month, week and day in their own order while they are edited together, and periods are opened all the time."""
    kinds = ("user_day", "user_month", "user_week")
    await allow(day=10**6, week=10**6, month=10**6)

    async def requests(number):
        for day in range(1, 9):
            keys = [BalanceKey(kind, 1, f"2026-{1 + number}-{day:02}") for kind in kinds[number % 3 :] + kinds[: number % 3]]
            assert await spend(ledger, [*keys, today("user_day"), today("user_week")], 1) == 1

    running = asyncio.gather(*(requests(number) for number in range(6)))
    edits = 0
    while not running.done():
        edits += 1
        await allow(day=10**6 + edits, month=10**6 + edits, week=10**6 - edits)
        await asyncio.sleep(0.02)
    await running
    assert edits > 1
    assert await in_thread(differences) == []
    found = await in_thread(audit)
    assert found.ok, found.differences


async def test_a_balance_that_is_not_what_its_budget_says_is_found(ledger):
    await allow(day=1000)
    assert await spend(ledger, [today()], 10) == 1
    assert (await in_thread(audit)).ok
    await in_thread(lambda: Budget.objects.update(limit=999))
    (difference,) = (await in_thread(audit)).differences
    assert (difference.check, difference.expected, difference.found) == ("budget", 999, 1000)


@pytest.mark.parametrize("limit", [-1, 10**15 + 1])
async def test_a_figure_out_of_range_is_refused(ledger, limit):
    with pytest.raises(ValueError, match="between 0 and"):
        await allow(day=limit, month=5)
    assert not await in_thread(Budget.objects.exists)
