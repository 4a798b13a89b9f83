"""Writers that want the same rows in opposite orders wait for each other and do not deadlock; a deadlock by somebody else's hand books once."""

import datetime
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from django.db import connection, connections, transaction

from billing.ledger.postgres import PostgresStore
from billing.ledger.records import BalanceKey, Booking, uuid7
from billing.ledger.sqlite import SQLiteStore
from billing.locks import lock_balances
from billing.models import Balance, UsageRecord
from tests.billing.ledger.conftest import WALLET, differences, facts, fund

ROUNDS = 40


def writer(config, name):
    """The store of one more process."""
    store = (SQLiteStore if config.sqlite else PostgresStore)(config.database, name * 32, ord(name))
    store.connect()
    store.register("here")
    return store


def booking(boot_id, *balances, amount=10):
    now = datetime.datetime.now(tz=datetime.UTC)
    return Booking(uuid7(int(now.timestamp() * 1000)), now, boot_id, balances, facts(amount))


def test_opposite_orders_do_not_deadlock(ledger_config):
    keys = [BalanceKey("token", subject) for subject in range(1, 9)]
    balances = [fund(key, 10**9).pk for key in keys]
    orders = {"a": balances, "b": balances[::-1], "c": balances[4:] + balances[:4]}

    def settle(name):
        with closing(writer(ledger_config, name)) as store:
            for _ in range(ROUNDS):
                assert store.settle([booking(store.boot_id, balance) for balance in orders[name]]) == len(balances)
            return getattr(store, "conflicts", 0)

    def edit():
        try:
            for number in range(ROUNDS):
                with transaction.atomic():
                    lock_balances(keys[::-1] if number % 2 else keys)
            return 0
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        conflicts = [pool.submit(settle, name) for name in orders] + [pool.submit(edit)]
        assert [one.result() for one in conflicts] == [0, 0, 0, 0]
    assert UsageRecord.objects.count() == len(orders) * ROUNDS * len(balances)
    assert differences() == []


def waits_for_a_lock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'oneapi ledger' AND wait_event_type = 'Lock'")
        return cursor.fetchone()[0] > 0


def test_a_deadlock_is_tried_again_and_books_once(ledger_config):
    leased, bare = fund(BalanceKey("token", 1), 1000), fund(WALLET, 1000)
    with closing(writer(ledger_config, "a")) as store:
        store.run("INSERT INTO billing_lease (boot_id, balance_id, remaining) VALUES (?, ?, ?)", (store.boot_id, leased.pk, 500))
        store.run("UPDATE billing_balance SET available = available - ? WHERE id = ?", (500, leased.pk))
        charge = booking(store.boot_id, leased.pk, bare.pk, amount=100)
        settling = threading.Thread(target=store.settle, args=([charge],))
        if connection.vendor == "postgresql":
            store.run("SET deadlock_timeout = '400ms'")  # so that the ledger is the one that is told
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL deadlock_timeout = '20s'")
                cursor.execute("SELECT id FROM billing_balance WHERE id = %s FOR UPDATE", [bare.pk])
                settling.start()
                while not waits_for_a_lock():
                    time.sleep(0.01)
                cursor.execute("UPDATE billing_lease SET remaining = remaining WHERE balance_id = %s", [leased.pk])
            settling.join(10)
            assert store.conflicts == 1
        else:  # one write lock for all: nothing to deadlock on, and who comes second waits
            with transaction.atomic():
                Balance.objects.select_for_update().get(pk=bare.pk)
                settling.start()
                time.sleep(0.3)
                assert settling.is_alive()
            settling.join(10)
        assert not settling.is_alive()
        assert store.settle([charge]) == 0
    assert UsageRecord.objects.count() == 1
    bare.refresh_from_db()
    assert bare.available == 900
    assert differences() == []
