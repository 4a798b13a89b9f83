"""Credits, debits and limits move money in one transaction with the row that explains them, whoever else is at it."""

from typing import Any

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction

from billing import wallets
from billing.audit import audit
from billing.locks import lock_balances
from billing.models import Balance, Kind, LedgerEntry
from billing.wallets import NotEnoughMoney, credit, figures, make_limit, remove_limit, set_limit, wallet_of
from tests.billing.rows import USD, at_once, charge, lease, make_user, remaining

race = pytest.mark.django_db(transaction=True)
alone = pytest.mark.django_db


@alone
def test_a_credit_is_an_entry_and_money() -> None:
    user, admin = make_user(), make_user("root")

    entry = credit(user, 5 * USD, admin, "invoice 7\x00\n", "key-1")

    assert (entry.amount, entry.author_id, entry.reason, entry.act) == (5 * USD, admin.pk, "invoice 7", "topup")
    assert remaining(user) == wallets.balance_of(user) == 5 * USD
    assert audit().ok


@alone
def test_the_same_key_credits_once() -> None:
    user = make_user()

    first = credit(user, 5 * USD, idempotency_key="k")
    again = credit(user, 5 * USD, idempotency_key="k")

    assert first.pk == again.pk
    assert remaining(user) == 5 * USD


@alone
@pytest.mark.parametrize("other", [{"amount_nano": 6 * USD}, {"amount_nano": 5 * USD, "act": "gift"}])
def test_a_key_that_says_something_else_is_refused(other: dict[str, Any]) -> None:
    user = make_user()
    credit(user, 5 * USD, idempotency_key="k")

    with pytest.raises(ValueError, match="key"):
        credit(user, idempotency_key="k", **other)

    assert remaining(user) == 5 * USD


@alone
@pytest.mark.parametrize("amount", [0, 10**15 + 1, -(10**15) - 1])
def test_amounts_out_of_range_are_refused(amount: int) -> None:
    with pytest.raises(ValueError, match="amount"):
        credit(make_user(), amount)


@alone
def test_a_debit_takes_no_more_than_there_is() -> None:
    user = make_user()
    credit(user, 5 * USD)

    credit(user, -2 * USD, act=LedgerEntry.Act.ADJUSTMENT)
    with pytest.raises(NotEnoughMoney):
        credit(user, -4 * USD)

    assert remaining(user) == 3 * USD
    assert LedgerEntry.objects.count() == 2
    assert wallet_of(user.pk).recall_at is not None


@race
def test_a_debit_waits_a_moment_for_leased_money(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a wallet whose money is leased to a process that gives it back at the first recall
    user = make_user()
    credit(user, 5 * USD)
    held = lease(wallet_of(user.pk), 5 * USD)

    def give_back(_seconds: float) -> None:
        assert wallet_of(user.pk).recall_at is not None
        held.delete()
        Balance.objects.filter(pk=held.balance_id).update(available=5 * USD)

    monkeypatch.setattr("billing.wallets.time.sleep", give_back)

    credit(user, -5 * USD)

    assert remaining(user) == 0
    assert audit().ok


@race
def test_credits_at_once_all_count_and_one_key_counts_once() -> None:
    user = make_user()

    outcomes = at_once(40, lambda number: credit(user, USD, idempotency_key=f"k{number % 20}"))

    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert remaining(user) == 20 * USD
    assert audit().ok


@race
def test_debits_at_once_never_overdraw() -> None:
    user = make_user()
    credit(user, 5 * USD)

    outcomes = at_once(20, lambda _number: credit(user, -USD))

    assert sum(isinstance(one, LedgerEntry) for one in outcomes) == 5
    assert sum(isinstance(one, NotEnoughMoney) for one in outcomes) == 15
    assert remaining(user) == 0
    assert audit().ok


@alone
def test_the_figures_hold_what_is_leased_and_used() -> None:
    user = make_user()
    credit(user, 5 * USD)
    wallet = wallet_of(user.pk)
    lease(wallet, 2 * USD)
    charge([wallet], USD, user_id=user.pk)

    found = figures(Kind.WALLET, user.pk)

    assert (found.available, found.leased, found.remaining, found.used, found.requests) == (3 * USD, USD, 4 * USD, USD, 1)
    assert figures(Kind.TOKEN, 99).remaining == 0


@alone
def test_a_limit_is_edited_as_what_remains() -> None:
    # Given a token of 5 dollars that has used 1 and leased 2 more
    token = make_limit(Kind.TOKEN, 2, 5 * USD)
    lease(token, 3 * USD)
    charge([token], USD)

    # When an operator says that 10 shall remain
    edited = set_limit(Kind.TOKEN, 2, 10 * USD)

    # Then they do, and the limit is that plus what was charged
    assert edited is not None
    assert figures(Kind.TOKEN, 2).remaining == 10 * USD
    assert edited.limit == 11 * USD
    assert audit().ok


@alone
def test_a_limit_below_what_is_leased_recalls_the_rest() -> None:
    lease(make_limit(Kind.TOKEN, 2, 5 * USD), 4 * USD)

    edited = set_limit(Kind.TOKEN, 2, USD)

    assert edited is not None
    assert (edited.available, figures(Kind.TOKEN, 2).remaining) == (-3 * USD, USD)
    assert edited.recall_at is not None
    assert audit().ok


@alone
def test_a_token_that_was_unlimited_gets_a_limit_of_what_shall_remain() -> None:
    token = make_limit(Kind.TOKEN, 2, 5 * USD)
    charge([token], USD)

    assert set_limit(Kind.TOKEN, 2, None) is None
    charge([], 3 * USD)  # admitted as unlimited: names no balance
    set_limit(Kind.TOKEN, 2, 2 * USD)

    assert figures(Kind.TOKEN, 2).remaining == 2 * USD
    assert audit().ok


@alone
def test_a_limit_can_be_set_where_there_was_none() -> None:
    set_limit(Kind.TOKEN, 7, USD)
    remove_limit(Kind.TOKEN, 8)
    set_limit(Kind.TOKEN, 8, None)

    assert figures(Kind.TOKEN, 7).remaining == USD
    assert not Balance.objects.filter(subject=8).exists()


@alone
@pytest.mark.parametrize(("kind", "amount"), [(Kind.WALLET, 1), (Kind.TOKEN, -1), (Kind.TOKEN, 10**15 + 1)])
def test_limits_out_of_range_and_of_wallets_are_refused(kind: str, amount: int) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        set_limit(kind, 1, amount)
    with pytest.raises(ValueError, match=r"\.$"):
        make_limit(kind, 1, amount)


@race
def test_edits_and_charges_at_once_lose_nothing() -> None:
    # Given a token of which a process has leased half
    token = make_limit(Kind.TOKEN, 2, 100 * USD)
    lease(token, 50 * USD)

    def act(number: int) -> object:
        if number % 2:
            return set_limit(Kind.TOKEN, 2, number * USD)
        with transaction.atomic():
            return charge([token], USD, user_id=number, channel_id=number, token_id=number)

    outcomes = at_once(20, act)

    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert audit().ok


@race
def test_crosswise_locks_of_several_balances_do_not_deadlock() -> None:
    keys = [("token", number, "") for number in range(4)]
    for kind, subject, _period in keys:
        make_limit(kind, subject, USD)

    def act(number: int) -> int:
        with transaction.atomic():
            return len(lock_balances(keys if number % 2 else reversed(keys)))

    assert at_once(10, act) == [4] * 10


@alone
def test_a_lock_on_what_is_not_there_says_so() -> None:
    with pytest.raises(ObjectDoesNotExist):
        lock_balances([("token", 1, "")])
