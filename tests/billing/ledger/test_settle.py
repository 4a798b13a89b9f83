"""A charge is booked exactly once; a bad row harms nobody else's; a broken connection loses nothing."""

import asyncio
import datetime

import pytest
from django.db import connection, models

from billing.ledger import statements
from billing.ledger.errors import NotBooked
from billing.ledger.postgres import NAME, PostgresStore
from billing.ledger.records import Booking, uuid7
from billing.ledger.sqlite import SQLiteStore
from billing.models import Counter, UsageRecord
from tests.billing.ledger.conftest import WALLET, differences, facts, fund
from tests.orm import in_thread


def test_the_columns_are_those_of_the_model():
    assert set(statements.USAGE_COLUMNS) == {field.column for field in UsageRecord._meta.get_fields() if isinstance(field, models.Field)}


def test_a_batch_settled_twice_is_booked_once(ledger_config):
    balance = fund(WALLET, 1000)
    store = (SQLiteStore if ledger_config.sqlite else PostgresStore)(ledger_config.database, "a" * 32, 0)
    store.connect()
    store.register("here")
    now = datetime.datetime.now(tz=datetime.UTC).replace(microsecond=0)
    batch = [Booking(uuid7(int(now.timestamp() * 1000)), now, "a" * 32, (balance.pk,), facts(100)) for _ in range(7)]
    assert store.settle(batch) == 7
    assert store.settle(batch) == 0
    assert store.settle([*batch, Booking(uuid7(1), now, "a" * 32, (balance.pk,), facts(1))]) == 1
    store.close()
    balance.refresh_from_db()
    assert balance.available == 1000 - 701
    assert differences() == []
    assert Counter.objects.get(kind="user", subject=1).requests == 8


async def test_failed_requests_cost_nothing_and_raise_no_counter(ledger):
    await in_thread(fund, WALLET, 1000)
    async with ledger.reserve([WALLET], 500, 500) as charge:
        await ledger.settle(charge, facts(0, ended="failed", status=502))
    assert not await in_thread(Counter.objects.exists)
    assert await in_thread(differences) == []


async def test_a_charge_is_settled_once(ledger):
    await in_thread(fund, WALLET, 1000)
    async with ledger.reserve([WALLET], 500, 500) as charge:
        await ledger.settle(charge, facts(10))
        with pytest.raises(NotBooked):
            await ledger.settle(charge, facts(10))


async def test_a_refused_row_is_isolated(ledger):
    await in_thread(fund, WALLET, 10**9)

    async def one(**changes):
        async with ledger.reserve([WALLET], 100, 100) as charge:
            await asyncio.sleep(0.02)
            await ledger.settle(charge, facts(100, **changes))

    outcomes = await asyncio.gather(
        *(one() for _ in range(10)), one(detail="{no json"), one(input_tokens=2**70), *(one() for _ in range(10)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [NotBooked]
    assert await in_thread(UsageRecord.objects.count) == 21  # the one without its detail too


async def test_a_broken_connection_loses_no_charge(ledger):
    if connection.vendor == "postgresql":
        broken = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{NAME}' AND datname = current_database()"
    else:
        broken = "SELECT 1"  # a file has no connection to break; the charges must still all be there
    await in_thread(fund, WALLET, 10**6)

    async def one():
        async with ledger.reserve([WALLET], 100, 100) as charge:
            await asyncio.sleep(0.001)
            await ledger.settle(charge, facts(7))

    async def breaking():
        for _ in range(5):
            await asyncio.sleep(0.1)
            await in_thread(run, broken)

    async def worker():
        for _ in range(40):
            try:
                await one()
            except Exception as error:  # noqa: BLE001  an acquire that was cut off is refused, which costs nothing
                refused.append(error)

    refused: list[Exception] = []
    await asyncio.gather(breaking(), *(worker() for _ in range(8)))
    assert await in_thread(UsageRecord.objects.count) == 320 - len(refused)
    assert await in_thread(differences) == []
    await asyncio.sleep(0.1)
    assert ledger.reserved_total == 0


def run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
