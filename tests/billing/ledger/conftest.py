"""A migrated database that the ledger's own connections see, and the sums that must always hold."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from django.db import connection, transaction
from django.db.models import Sum

from billing.ledger.records import BalanceKey, UsageFacts
from billing.ledger.reserve import Ledger, LedgerConfig
from billing.models import Balance, Checkpoint, Hold, Lease, LedgerEntry, UsageRecord
from billing.months import kept_from, start_of
from tests.orm import in_thread

WALLET = BalanceKey("wallet", 1)
TOKEN = BalanceKey("token", 1)
T = TypeVar("T")


@pytest.fixture
def ledger_config(transactional_db, tmp_path):
    """The ledger's view of the test database."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return LedgerConfig(str(values["NAME"]), True, tmp_path, lease_idle=0.3)
    auth = f"{values['USER']}:{values['PASSWORD']}" if values["PASSWORD"] else values["USER"]
    return LedgerConfig(f"postgresql://{auth}@{values['HOST']}:{values['PORT']}/{values['NAME']}", False, tmp_path, lease_idle=0.3)


@pytest.fixture
async def ledger(ledger_config):
    """A running ledger, stopped at the end."""
    running = Ledger(ledger_config)
    await running.start()
    yield running
    await running.stop(5)


async def die(ledger: Ledger) -> None:
    """What `kill -9` leaves behind: rows and files, but no locks and no threads."""
    ledger._ticker.cancel()
    ledger._writer.stop()
    await in_thread(ledger._writer.join)
    if ledger._listener is not None:
        ledger._listener.stop()
        await in_thread(ledger._listener.join)
    ledger._store.close()
    os.close(ledger._journal._handle)
    os.close(ledger._slot._handle)


async def until(condition: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Waits for it; an assertion where it does not come."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110  the condition is in a database
            await asyncio.sleep(0.02)


def fund(key: BalanceKey, amount: int) -> Balance:
    """A balance that holds `amount`: by an entry for a wallet, by its limit otherwise."""
    wallet = key.kind == "wallet"
    balance = Balance.objects.create(kind=key.kind, subject=key.subject, period=key.period, available=amount, limit=None if wallet else amount)
    if wallet:
        LedgerEntry.objects.create(balance=balance, act=LedgerEntry.Act.TOP_UP, amount=amount)
    return balance


def facts(amount: int, **changes: object) -> UsageFacts:
    """The facts of a finished request that costs `amount`."""
    values: dict[str, object] = {
        "ended": "done", "user_id": 1, "token_id": 1, "channel_id": 1, "key_id": 1, "group": "default", "endpoint": "chat/completions",
        "model": "m", "model_served": "m", "stream": False, "counted": False, "input_tokens": 20, "output_tokens": 15, "amount": amount,
        "upstream_cost": amount, "status": 200, "duration_ms": 5, "detail": '{"lines": []}', **changes,
    }  # fmt: skip
    return UsageFacts(**values)


def differences() -> list[str]:
    """Where docs/ledger.md §1's equation does not hold, seen in one snapshot."""
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _differences()


def _differences() -> list[str]:
    found = []
    charged: dict[int, int] = {}
    kept = kept_from()
    rows = UsageRecord.objects.filter(at__gte=start_of(kept)) if kept else UsageRecord.objects.all()
    for balances, amount in rows.values_list("balances", "amount"):
        for balance in balances:
            charged[balance] = charged.get(balance, 0) + amount
    pruned = Checkpoint.objects.filter(kind="balance", month__lt=kept).values_list("subject", "charges") if kept else []
    for balance, amount in pruned:
        charged[balance] = charged.get(balance, 0) + amount
    for balance in Balance.objects.all():
        leased = Lease.objects.filter(balance=balance).aggregate(total=Sum("remaining"))["total"] or 0
        held = Hold.objects.filter(balance=balance).aggregate(total=Sum("amount"))["total"] or 0
        entries = LedgerEntry.objects.filter(balance=balance).aggregate(total=Sum("amount"))["total"] or 0
        credit = entries if balance.kind == "wallet" else (balance.limit or 0)
        if balance.available + leased + held != credit - charged.get(balance.pk, 0):
            found.append(f"{balance}: {balance.available} + {leased} + {held} != {credit} - {charged.get(balance.pk, 0)}")
    return found
