"""A statement: every change of a balance by time, the balance after each, and at its end what the audit computes."""

import datetime
import random
from itertools import pairwise

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from billing import acts, statement
from billing.archive import archive
from billing.audit import audit
from billing.ledger.records import uuid7
from billing.models import Balance, Kind, LedgerEntry
from billing.months import close, start_of
from billing.partitions import month_after
from billing.prune import prune
from billing.statement import Filters, Key, Line, Period
from billing.wallets import credit, figures, make_limit, set_limit, wallet_of
from tests.billing.months import MONTH, partitions_from
from tests.billing.rows import USD, charge, make_user

pytestmark = pytest.mark.django_db
ALL = Period()
ACTS = ("credit", "debit", "charge", "refund", "off", "edit", "move")


def lines(balance: Balance, period: Period = ALL, **filters: object) -> list[Line]:
    return list(statement.every_line(balance, period, Filters(**filters)))


def in_pages(balance: Balance, size: int, **filters: object) -> list[Line]:
    """The same lines, read a page at a time from the newest on."""
    found: list[Line] = []
    before: Key | None = None
    while True:
        one = statement.page(balance, ALL, Filters(**filters), before=before, size=size)
        found += one.lines
        before = one.older
        if before is None:
            return found[::-1]


def test_a_wallets_lines_and_the_balance_after_each() -> None:
    user = make_user()
    wallet = wallet_of(user.pk)
    credit(user, 10 * USD, reason="bank", idempotency_key="t1")
    record = charge([wallet], 4 * USD, user_id=user.pk, token_id=7, model="gpt-4o")
    acts.refund(record.pk, USD, author=user, reason="broken", reference="r1")
    charge([wallet], 0, user_id=user.pk, ended="failed")

    found = lines(wallet)

    assert [(one.kind, one.amount, one.balance) for one in found] == [
        ("topup", 10 * USD, 10 * USD), ("charge", -4 * USD, 6 * USD), ("refund", USD, 7 * USD)
    ]  # fmt: skip
    assert (found[1].model, found[1].token_id, found[1].charge, found[2].charge, found[2].reason) == ("gpt-4o", 7, record.pk, record.pk, "broken")


def test_a_limits_lines_begin_with_what_it_was_given() -> None:
    limit, other = make_limit(Kind.TOKEN, 2, 10 * USD), make_limit(Kind.TOKEN, 3, USD)
    charge([limit], 4 * USD, token_id=2)
    set_limit(Kind.TOKEN, 2, 8 * USD)
    acts.transfer_limit(2, 3, 3 * USD, author=None, reason="", reference="t")

    assert [(one.kind, one.amount, one.balance) for one in lines(limit)] == [
        ("limit", 10 * USD, 10 * USD), ("charge", -4 * USD, 6 * USD), ("edit", 2 * USD, 8 * USD), ("transfer", -3 * USD, 5 * USD)
    ]  # fmt: skip
    assert [one.balance for one in lines(other)] == [USD, 4 * USD]


def test_charges_that_do_not_name_the_balance_are_no_lines() -> None:
    user = make_user()
    limit = make_limit(Kind.TOKEN, 2, USD)
    charge([wallet_of(user.pk)], USD // 2, user_id=user.pk, token_id=2)

    assert [one.kind for one in lines(limit)] == ["limit"]


def test_a_period_has_the_balances_of_its_ends() -> None:
    user, now = make_user(), timezone.now()
    wallet = wallet_of(user.pk)
    for day in (3, 2, 1):
        charge([wallet], day * USD, user_id=user.pk, at=now - datetime.timedelta(days=day))
    middle = Period(now - datetime.timedelta(days=2, hours=1), now - datetime.timedelta(days=1, hours=1))

    one = statement.page(wallet, middle, Filters())

    assert (one.opening, one.closing, [line.balance for line in one.lines]) == (-3 * USD, -5 * USD, [-5 * USD])
    assert statement.closing(wallet, middle) == (-3 * USD, -5 * USD)
    assert lines(wallet, middle) == one.lines


def test_filters_hide_lines_and_not_their_money() -> None:
    user = make_user()
    wallet = wallet_of(user.pk)
    credit(user, 10 * USD)
    for model, token in (("a", 1), ("b", 2), ("a", 2), ("b", 1)):
        charge([wallet], USD, user_id=user.pk, model=model, token_id=token)

    assert [one.balance for one in lines(wallet, model="a")] == [9 * USD, 7 * USD]
    assert [one.balance for one in lines(wallet, token_id=2)] == [8 * USD, 7 * USD]
    for chosen in ({"model": "a"}, {"token_id": 2}, {"kind": "topup"}, {"kind": "charge", "model": "b", "token_id": 1}, {"model": "none"}):
        assert in_pages(wallet, 1, **chosen) == lines(wallet, **chosen)


def test_lines_of_one_moment_stand_on_one_page_each(monkeypatch: pytest.MonkeyPatch) -> None:
    user, now = make_user(), timezone.now().replace(microsecond=0)
    wallet = wallet_of(user.pk)
    for _number in range(9):
        charge([wallet], USD, user_id=user.pk, at=now, id=uuid7(int(now.timestamp() * 1000)))
    if connection.vendor == "sqlite":  # as the relay writes a whole second there
        with connection.cursor() as cursor:
            cursor.execute("UPDATE billing_usagerecord SET at = at || '.000000'")

    assert [one.balance for one in in_pages(wallet, 2)] == [-number * USD for number in range(1, 10)]
    monkeypatch.setattr(statement, "BATCH", 2)
    assert in_pages(wallet, 4) == lines(wallet)


class RandomActs(TestCase):
    """Whatever people and requests do, the last line is the balance, and each line follows from the one before."""

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.sampled_from(ACTS), st.integers(1, 5 * USD)), max_size=14), st.randoms())
    def test_the_last_line_is_what_the_audit_computes(self, story: list[tuple[str, int]], chance: random.Random) -> None:
        user = make_user()
        wallet, limits = wallet_of(user.pk), [make_limit(Kind.TOKEN, number, 5 * USD) for number in (1, 2)]
        charged = []
        for number, (act, amount) in enumerate(story):
            explained = {"author": user, "reason": act, "reference": f"r{number}"}
            token = chance.choice((1, 2))
            try:
                if act in ("credit", "debit"):
                    credit(user, amount if act == "credit" else -amount)
                elif act == "charge":
                    named = [wallet, limits[token - 1]][: chance.choice((1, 2))]
                    charged.append(charge(named, amount, user_id=user.pk, token_id=token))
                elif act == "refund" and charged:
                    acts.refund(chance.choice(charged).pk, chance.choice((None, amount)), **explained)
                elif act == "off":
                    acts.write_off(user, **explained)
                elif act == "edit":
                    set_limit(Kind.TOKEN, token, amount)
                elif act == "move":
                    acts.transfer_limit(token, 3 - token, amount, **explained)
            except ValueError:
                continue  # refused: it moved nothing, or the audit says so

        assert audit().ok
        for balance in (wallet, *limits):
            found = lines(balance)
            left = figures(balance.kind, balance.subject).remaining
            assert statement.closing(balance, ALL) == (0, left)
            assert (found[-1].balance if found else 0) == left
            assert all(later.balance == earlier.balance + later.amount for earlier, later in pairwise(found))
            assert in_pages(balance, 3) == found


def test_a_pruned_month_is_one_line(settings, tmp_path) -> None:
    settings.DATA_DIR = tmp_path
    partitions_from(MONTH)
    user = make_user()
    wallet = wallet_of(user.pk)
    at = start_of(MONTH) + datetime.timedelta(days=14)
    credit(user, 10 * USD, reason="bank", idempotency_key="t1")
    LedgerEntry.objects.update(at=at - datetime.timedelta(days=1))
    for day, amount in enumerate((USD, 2 * USD)):
        charge([wallet], amount, user_id=user.pk, at=at + datetime.timedelta(days=day))
    charge([wallet], USD, user_id=user.pk)
    close(MONTH)
    archive(MONTH)

    before = lines(wallet)
    prune(MONTH)
    found = lines(wallet)

    assert [one.balance for one in before] == [10 * USD, 9 * USD, 7 * USD, 6 * USD]
    assert [(one.kind, one.amount, one.balance) for one in found] == [
        ("topup", 10 * USD, 10 * USD), ("month", -3 * USD, 7 * USD), ("charge", -USD, 6 * USD)
    ]  # fmt: skip
    assert found[1].at == start_of(month_after(MONTH)) - datetime.timedelta(microseconds=1)
    assert in_pages(wallet, 1) == found
    assert statement.closing(wallet, Period(start_of(month_after(MONTH)))) == (7 * USD, 6 * USD)
