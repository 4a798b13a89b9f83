"""A charge that comes after its month was closed is in the month's checkpoints, once, also when both happen at the same time."""

import pytest
from django.db import connection
from django.db.models import Sum

from billing.audit import audit
from billing.ledger.store import Store
from billing.models import Balance, Checkpoint, ClosedMonth, UsageRecord
from billing.months import close
from billing.partitions import month_after
from tests.billing.ledger.conftest import TOKEN, WALLET, differences, fund
from tests.billing.months import MONTH, booking, store_of
from tests.billing.rows import at_once

ACCOUNTS = 4


@pytest.fixture
def store(ledger_config):
    opened = store_of(ledger_config)
    yield opened
    opened.close()


def checkpoint(kind: str, subject: int) -> tuple[int, int]:
    """(charges, requests) over all closed months."""
    row = Checkpoint.objects.filter(kind=kind, subject=subject).aggregate(charges=Sum("charges"), requests=Sum("requests"))
    return row["charges"] or 0, row["requests"] or 0


def adds_up() -> bool:
    return differences() == [] and audit().ok and audit(full=True).ok


def test_a_late_charge_adds_itself(store: Store):
    wallet = fund(WALLET, 1000)
    store.settle([booking(wallet.pk, 100), booking(wallet.pk, 0, ended="failed"), booking(wallet.pk, 30, month=None)])
    close(MONTH)
    assert checkpoint("balance", wallet.pk) == (100, 1)
    assert adds_up()

    late = [booking(wallet.pk, 7), booking(wallet.pk, 5, token_id=9), booking(wallet.pk, 2, month=None), booking(wallet.pk, 0, ended="failed")]
    assert store.settle(late) == 4

    assert checkpoint("balance", wallet.pk) == (112, 3)
    assert (checkpoint("token", 1), checkpoint("token", 9), checkpoint("channel", 1)) == ((107, 2), (5, 1), (112, 3))
    assert ClosedMonth.objects.get().changes == 3
    assert adds_up()


def test_a_charge_replayed_after_its_month_was_closed_is_booked_once(store: Store):
    wallet = fund(WALLET, 1000)
    batch = [booking(wallet.pk, 100), booking(wallet.pk, 30, month=None)]
    store.settle(batch)
    close(MONTH)

    assert store.settle(batch) == 0
    assert store.settle([*batch, booking(wallet.pk, 1)]) == 1

    assert checkpoint("balance", wallet.pk) == (101, 2)
    assert Balance.objects.get().available == 1000 - 131
    assert adds_up()


def test_what_is_older_than_the_first_closed_month_counts_in_it(store: Store):
    wallet = fund(WALLET, 1000)
    store.settle([booking(wallet.pk, 100)])
    close(MONTH)

    store.settle([booking(wallet.pk, 1, month=month_after(MONTH, -3))])

    assert checkpoint("balance", wallet.pk) == (101, 2)
    assert ClosedMonth.objects.get().changes == 1
    assert adds_up()


def test_charges_race_with_the_close(ledger_config):
    """Late ones of several processes, and one that closes in the middle: each charge is in the checkpoints exactly once."""
    wallets = [fund(WALLET._replace(subject=number), 10**6) for number in range(ACCOUNTS)]
    token = fund(TOKEN, 10**6)
    stores = [store_of(ledger_config, f"{number:032d}", number) for number in range(3)]
    stores[0].settle([booking(wallets[0].pk, 1)])

    def act(number: int) -> int:
        if number == 3:
            return close(MONTH)[0].pk
        booked = 0
        for turn in range(30):
            wallet = wallets[(number + turn) % ACCOUNTS]
            late = booking(wallet.pk, 10, token_id=turn)
            both = type(late)(late.id, late.at, late.boot_id, (token.pk, wallet.pk), late.facts)
            booked += stores[number].settle([both, booking(wallet.pk, 5, month=None)])
        return booked

    outcomes = at_once(4, act)

    for store in stores:
        store.close()
    assert outcomes[:3] == [60, 60, 60], outcomes
    assert UsageRecord.objects.count() == 181
    assert checkpoint("balance", token.pk) == (900, 90)
    assert checkpoint("channel", 1) == (901, 91)
    assert adds_up()
    assert not connection.in_atomic_block
