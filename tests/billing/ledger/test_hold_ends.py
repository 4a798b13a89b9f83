"""A hold ends once: its work's charge takes from it and frees the rest, or its deadline gives all of it back."""

import datetime
import uuid

import pytest
from django.utils import timezone

from billing.audit import audit
from billing.holds import expire_holds
from billing.ledger.records import PAID_BY_HOLD, Booking, time_of
from billing.ledger.reserve import Ledger
from billing.models import Balance, Hold, UsageRecord
from billing.tasks import expire_overdue_holds
from tests.billing.ledger.conftest import TOKEN, WALLET, die, differences, facts, fund
from tests.billing.months import store_of
from tests.billing.rows import at_once
from tests.orm import in_thread

LATER = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def available() -> list[int]:
    return list(Balance.objects.order_by("kind").values_list("available", flat=True))


async def held(ledger: Ledger, amount: int, deadline: datetime.datetime = LATER) -> tuple[uuid.UUID, tuple[int, ...]]:
    """A hold on token and wallet, and the ids of both."""
    async with ledger.reserve([TOKEN, WALLET], amount, amount) as charge:
        return await ledger.hold(charge, "batch 7", deadline), charge.balances


@pytest.fixture
async def funds(transactional_db):
    await in_thread(fund, WALLET, 1000)
    await in_thread(fund, TOKEN, 500)


@pytest.mark.parametrize("cost", [0, 120, 300, 350])
async def test_the_charge_takes_from_the_hold_and_the_rest_is_free(ledger_config, funds, cost):
    ledger = Ledger(ledger_config)
    await ledger.start()
    hold, balances = await held(ledger, 300)

    await ledger.settle_hold(hold, balances, facts(cost, ended="done" if cost else "failed"))
    await ledger.settle_hold(hold, balances, facts(cost, ended="done" if cost else "failed"))
    await ledger.stop(5)

    assert not await in_thread(Hold.objects.exists)
    record = await in_thread(UsageRecord.objects.get)
    assert (record.id, record.at, record.amount, record.balances) == (hold, time_of(hold), cost, list(balances))
    assert await in_thread(available) == [500 - cost, 1000 - cost]
    assert await in_thread(differences) == []
    assert (await in_thread(audit)).ok


async def test_any_process_may_settle_it(ledger_config, ledger, funds):
    hold, balances = await held(ledger, 300)
    other = Ledger(ledger_config)
    await other.start()

    await other.settle_hold(hold, balances, facts(100))
    await ledger.settle_hold(hold, balances, facts(100))
    await other.stop(5)

    assert await in_thread(UsageRecord.objects.count) == 1
    assert await in_thread(differences) == []


async def test_a_charge_on_the_disk_of_a_dead_process_ends_its_hold(ledger_config, ledger, funds):
    dying = Ledger(ledger_config._replace(data_dir=ledger_config.data_dir / "other"))
    await dying.start()
    hold, balances = await held(dying, 300)
    await in_thread(dying._journal.append, [Booking(hold, time_of(hold), PAID_BY_HOLD, balances, facts(100))])
    await die(dying)

    again = Ledger(ledger_config._replace(data_dir=ledger_config.data_dir / "other"))
    await again.start()
    await again.stop(5)

    assert (await in_thread(UsageRecord.objects.get)).id == hold
    assert not await in_thread(Hold.objects.exists)
    assert await in_thread(differences) == []


async def test_its_deadline_gives_it_back_and_writes_no_usage(ledger_config, funds):
    ledger = Ledger(ledger_config)
    await ledger.start()
    hold, balances = await held(ledger, 300, timezone.now() - datetime.timedelta(seconds=5))
    await held(ledger, 50)
    await ledger.stop(5)

    assert await in_thread(expire_holds) == [hold]
    await in_thread(expire_overdue_holds)

    assert await in_thread(available) == [450, 950]
    assert not await in_thread(UsageRecord.objects.exists)
    assert await in_thread(differences) == []

    late = Ledger(ledger_config)
    await late.start()
    await late.settle_hold(hold, balances, facts(200))
    await late.stop(5)
    assert await in_thread(available) == [250, 750]
    assert await in_thread(differences) == []


def test_a_charge_and_the_deadline_at_the_same_time(ledger_config):
    """Whoever is first: the charge is booked in full, and the hold given back once."""
    wallet, past = fund(WALLET, 10**6), timezone.now() - datetime.timedelta(seconds=5)
    holds = [uuid.UUID(int=(1_790_000_000_000 + number) << 80 | 0x7 << 76 | 0b10 << 62) for number in range(60)]
    for hold in holds:
        Hold.objects.create(hold_id=hold, balance=wallet, amount=1000, job="video", deadline=past)
    Balance.objects.update(available=10**6 - 60_000)
    stores = [store_of(ledger_config, f"{number:032d}", number) for number in range(2)]

    def act(number: int) -> int:
        if number == 2:
            return sum(len(expire_holds()) for _ in range(20))
        order = holds if number else holds[::-1]
        batches = [order[start : start + 3] for start in range(0, 60, 3)]
        return sum(
            stores[number].settle([Booking(hold, time_of(hold), PAID_BY_HOLD, (wallet.pk,), facts(400)) for hold in batch]) for batch in batches
        )

    outcomes = at_once(3, act)

    for store in stores:
        store.close()
    booked = [one for one in outcomes[:2] if isinstance(one, int)]
    assert (len(booked), sum(booked)) == (2, 60), outcomes
    assert available() == [10**6 - 60 * 400]
    assert not Hold.objects.exists()
    assert differences() == []
    assert audit().ok


def test_the_audit_names_a_hold_that_nobody_gave_back(ledger_config):
    wallet = fund(WALLET, 1000)
    Hold.objects.create(hold_id=uuid.uuid4(), balance=wallet, amount=0, job="batch 7", deadline=timezone.now() - datetime.timedelta(days=2))

    assert [one.check for one in audit().differences] == ["hold past its deadline"]
