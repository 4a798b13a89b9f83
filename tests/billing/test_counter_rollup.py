"""Counters of dead processes are folded into one row; their sums are the same before, after, and at every moment between."""

import threading

import pytest
from django.db import connections
from django.db.models import Sum

from billing.audit import audit
from billing.models import Counter, Process
from billing.rollup import FOLDED, fold_counters
from billing.wallets import credit, wallet_of
from tests.billing.ledger.conftest import ledger_config  # noqa: F401  a fixture
from tests.billing.months import booking, store_of
from tests.billing.rows import USD, at_once, charge, make_process, make_user

pytestmark = pytest.mark.django_db


def sums() -> list[tuple[str, int, int, int]]:
    totals = Counter.objects.values("kind", "subject").annotate(total=Sum("amount"), count=Sum("requests")).order_by("kind", "subject")
    return [(row["kind"], row["subject"], row["total"], row["count"]) for row in totals]


def test_rows_of_dead_slots_become_one() -> None:
    user = make_user()
    credit(user, 10 * USD)
    make_process("living", slot=7)
    charge([wallet_of(user.pk)], USD, user_id=user.pk)
    for slot in (2, 3, 7):
        Counter.objects.create(kind="token", subject=99, slot=slot, amount=0, requests=0)
    before = sums()

    assert fold_counters() == 5

    assert sums() == before
    assert set(Counter.objects.filter(kind="user").values_list("slot", flat=True)) == {FOLDED}
    assert set(Counter.objects.filter(subject=99).values_list("slot", flat=True)) == {FOLDED, 7}
    assert fold_counters() == 0
    assert audit().ok


@pytest.mark.django_db(transaction=True)
def test_a_process_that_settles_meanwhile_loses_nothing(ledger_config) -> None:  # noqa: F811
    """Stalled ones were fenced, so that their slot is folded; they settle on, and every look sees whole sums."""
    user = make_user()
    credit(user, 1000 * USD)
    wallet = wallet_of(user.pk)
    done = threading.Event()

    def act(number: int) -> int:
        if number == 0:
            looks = 0
            while not done.is_set():
                fold_counters()
                assert audit().ok
                looks += 1
            return looks
        store = store_of(ledger_config, f"{number:032d}", slot=number)
        Process.objects.update(fenced=True)
        try:
            for _ in range(25):
                store.settle([booking(wallet.pk, USD), booking(wallet.pk, USD)])
        finally:
            store.close()
            connections.close_all()
            finished.release()
        return 0

    finished = threading.Semaphore(0)

    def watch() -> None:
        for _ in range(3):
            finished.acquire()
        done.set()

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcomes = at_once(4, act)
    watcher.join(60)

    assert all(isinstance(one, int) for one in outcomes), outcomes
    fold_counters()
    assert {(row[2], row[3]) for row in sums()} == {(150 * USD, 150)}
    assert audit().ok
