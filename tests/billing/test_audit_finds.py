"""The audit is clean where everything was booked, and names whatever does not add up."""

import json
import uuid
from collections.abc import Callable
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import connection, models
from django.db.models import F

from billing import redeem
from billing.audit import EXAMPLES, audit
from billing.models import Balance, Counter, Hold, Kind, Lease, LedgerEntry, Process, RedeemCode, UsageRecord
from billing.wallets import credit, make_limit, wallet_of
from tests.billing.rows import USD, at_once, charge, lease, make_user, yesterday

pytestmark = pytest.mark.django_db


def some_business() -> None:
    """A user who was credited, a token with a limit, a process with leases, and charges of all endings."""
    user = make_user()
    credit(user, 100 * USD)
    redeem.redeem(user, redeem.mint(2, 5 * USD)[0])
    wallet, token = wallet_of(user.pk), make_limit(Kind.TOKEN, 2, 50 * USD)
    for balance in (wallet, token):
        lease(balance, 10 * USD)
    for ended in ("done", "partial", "abandoned"):
        charge([token, wallet], USD, ended=ended, user_id=user.pk)
    charge([token, wallet], 2 * USD, user_id=user.pk, boot_id="gone")  # its lease is gone: taken from what is available
    charge([token, wallet], 0, ended="failed", user_id=user.pk)
    charge([], 3 * USD, user_id=user.pk, token_id=9)  # unlimited
    charge([], 0, type="test", upstream_cost=5)
    charge([wallet], 20 * USD, user_id=user.pk)  # an over-run: its lease is below zero


def test_business_as_booked_adds_up() -> None:
    some_business()

    report = audit()

    assert report.ok
    assert report.differences == []
    assert (report.charges, report.charged_nanodollars, report.balances) == (6, 28 * USD, 2)


def test_an_empty_database_adds_up() -> None:
    assert audit().ok


def change(model: type[models.Model], **fields: object) -> Callable[[], object]:
    """Spoils the first row of a table."""
    rows = model._default_manager
    return lambda: rows.filter(pk=rows.order_by("pk").values("pk")[:1]).update(**fields)


SPOILED: dict[str, tuple[str, Callable[[], object]]] = {
    "money appears": ("equation", change(Balance, available=F("available") + 1)),
    "a lease loses": ("equation", change(Lease, remaining=F("remaining") - 1)),
    "an entry vanishes": ("equation", lambda: LedgerEntry.objects.filter(act="topup").delete()),
    "a limit was edited by hand": ("equation", lambda: Balance.objects.filter(kind="token").update(limit=1)),
    "a charge vanishes": ("equation", lambda: UsageRecord.objects.filter(ended="partial").delete()),
    "a counter is off": ("counter", change(Counter, amount=F("amount") + 1)),
    "a request is not counted": ("counter", change(Counter, requests=F("requests") - 1)),
    "a counter of nobody": ("counter", lambda: Counter.objects.create(kind="user", subject=77, slot=1, amount=1)),
    "a counter is missing": ("counter", lambda: Counter.objects.filter(kind="channel").delete()),
    "an unknown balance is named": ("equation", lambda: charge_of_nobody()),
    "a fenced process has leases": ("lease of a process that is gone", change(Process, fenced=True)),
    "an unknown process has leases": ("lease of a process that is gone", lambda: Process.objects.all().delete()),
    "a failure costs": ("absurd charge", lambda: UsageRecord.objects.filter(ended="failed").update(amount=1)),
    "a negative count": ("absurd charge", lambda: UsageRecord.objects.filter(ended="done").update(output_tokens=-1)),
    "a refund without an entry": ("refund", lambda: UsageRecord.objects.filter(ended="partial").update(refunded=1)),
    "a code without its entry": ("redeem code", lambda: LedgerEntry.objects.filter(act="redeem").update(idempotency_key=None)),
    "a code that is free again": ("redeem code", lambda: RedeemCode.objects.update(redeemed_by=None, redeemed_at=None)),
    "a hold without a job": ("hold without a job", lambda: hold_of_nobody()),
}


def charge_of_nobody() -> None:
    record = charge([], 5, user_id=1)
    UsageRecord.objects.filter(pk=record.pk).update(balances=[123_456])


def hold_of_nobody() -> None:
    balance = Balance.objects.all()[0]
    Hold.objects.create(hold_id=uuid.uuid4(), balance=balance, amount=0, job="", deadline=yesterday())


@pytest.mark.parametrize("what", SPOILED)
def test_it_finds(what: str) -> None:
    some_business()
    check, spoil = SPOILED[what]

    spoil()

    report = audit()
    assert not report.ok
    assert check in {one.check for one in report.differences}


def test_a_difference_says_which_balance_and_how_much() -> None:
    some_business()
    wallet = Balance.objects.get(kind="wallet")
    Balance.objects.filter(pk=wallet.pk).update(available=F("available") + 7)

    (difference,) = audit().differences

    assert difference.what == f"wallet {wallet.subject}"
    assert difference.found - difference.expected == 7


def test_long_lists_are_cut_and_counted() -> None:
    Balance.objects.bulk_create(Balance(kind="wallet", subject=number, available=1) for number in range(EXAMPLES + 5))

    report = audit()

    assert (len(report.differences), report.unlisted) == (EXAMPLES, 5)


def test_the_command_prints_json_and_exits_with_1_on_a_difference() -> None:
    some_business()
    out = StringIO()

    call_command("audit", "--json", stdout=out)
    Balance.objects.update(available=F("available") + 1)
    with pytest.raises(SystemExit) as stopped:
        call_command("audit", "--json", stdout=out)

    good, bad = map(json.loads, out.getvalue().splitlines())
    assert (good["ok"], good["charges"], good["charged_nanodollars"], good["differences"]) == (True, 6, 28 * USD, [])
    assert (bad["ok"], len(bad["differences"]), stopped.value.code) == (False, 2, 1)


def test_the_command_speaks_to_people_too() -> None:
    out = StringIO()

    call_command("audit", stdout=out)

    assert "Everything adds up." in out.getvalue()


@pytest.mark.django_db(transaction=True)
def test_it_sees_one_moment_while_others_book() -> None:
    """Beside a crowd that credits and charges in transactions of their own, every report is clean, and no write waits for it to end."""
    user = make_user()
    wallet = wallet_of(user.pk)

    def act(number: int) -> bool:
        if number % 4:
            for _time in range(5):
                credit(user, USD)
            return True
        return all(audit().ok for _time in range(5))

    assert at_once(12, act) == [True] * 12
    wallet.refresh_from_db()
    assert wallet.available == 45 * USD
    assert not connection.in_atomic_block
