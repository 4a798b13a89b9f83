"""A write-off brings a wallet from below zero to zero; a transfer moves a limit between two tokens. Both once a reference."""

import pytest
from django.db.models import F

from billing.acts import transfer_limit, write_off
from billing.audit import audit
from billing.models import Balance, Kind, LedgerEntry, LimitChange
from billing.wallets import NotEnoughMoney, credit, figures, make_limit, set_limit, wallet_of
from tests.billing.rows import USD, at_once, charge, lease, make_user

race = pytest.mark.django_db(transaction=True)
alone = pytest.mark.django_db


def move(source: int, target: int, amount: int, reference: str) -> LimitChange:
    return transfer_limit(source, target, amount, author=None, reason="", reference=reference)


@alone
def test_a_write_off_brings_a_wallet_to_zero_leases_included() -> None:
    # Given a wallet that lacks 3 dollars, of which its lease lacks 5
    user, admin = make_user(), make_user("root")
    credit(user, 10 * USD)
    wallet = wallet_of(user.pk)
    lease(wallet, 8 * USD)
    charge([wallet], 13 * USD, user_id=user.pk)

    entry = write_off(user, author=admin, reason="a very long answer", reference="w1")

    assert (entry.act, entry.amount, entry.author_id, entry.reason) == ("writeoff", 3 * USD, admin.pk, "a very long answer")
    assert figures(Kind.WALLET, user.pk).remaining == 0
    assert write_off(user, author=admin, reason="", reference="w1").repeated
    assert audit().ok


@alone
def test_a_wallet_that_is_not_below_zero_has_nothing_to_write_off() -> None:
    with pytest.raises(ValueError, match="not below zero"):
        write_off(make_user(), author=None, reason="", reference="w1")
    assert not LedgerEntry.objects.exists()


@race
def test_write_offs_at_once_forgive_once() -> None:
    user = make_user()
    charge([wallet_of(user.pk)], 3 * USD, user_id=user.pk)

    outcomes = at_once(10, lambda number: write_off(user, author=None, reason="", reference=f"w{number}"))

    assert sum(isinstance(one, LedgerEntry) for one in outcomes) == 1
    assert sum(isinstance(one, ValueError) for one in outcomes) == 9
    assert figures(Kind.WALLET, user.pk).remaining == 0
    assert audit().ok


@alone
def test_a_transfer_moves_what_remains_and_the_limits_with_it() -> None:
    giver, taker = make_limit(Kind.TOKEN, 2, 10 * USD), make_limit(Kind.TOKEN, 3, USD)
    charge([giver], 4 * USD)
    admin = make_user("root")

    change = transfer_limit(2, 3, 5 * USD, author=admin, reason="new laptop", reference="t1")

    giver.refresh_from_db()
    taker.refresh_from_db()
    assert (giver.available, giver.limit, taker.available, taker.limit) == (USD, 5 * USD, 6 * USD, 6 * USD)
    assert (change.act, change.balance_id, change.taken_from_id, change.amount) == ("transfer", taker.pk, giver.pk, 5 * USD)
    assert (change.author_id, change.reason, change.repeated) == (admin.pk, "new laptop", False)
    assert move(2, 3, 5 * USD, "t1").repeated
    assert figures(Kind.TOKEN, 3).remaining == 6 * USD
    assert audit().ok


@alone
@pytest.mark.parametrize(
    ("source", "target", "amount", "text"),
    [(2, 2, USD, "different"), (2, 3, 0, "amount"), (2, 3, -USD, "amount"), (2, 9, USD, "must have a limit"), (2, 3, 3 * USD, "are free")],
)
def test_what_cannot_be_moved_moves_nothing(source: int, target: int, amount: int, text: str) -> None:
    make_limit(Kind.TOKEN, 2, 2 * USD)
    make_limit(Kind.TOKEN, 3, USD)

    with pytest.raises(ValueError, match=text):
        move(source, target, amount, "t1")

    assert (figures(Kind.TOKEN, 2).remaining, figures(Kind.TOKEN, 3).remaining) == (2 * USD, USD)
    assert not LimitChange.objects.exists()


@alone
def test_a_reference_of_another_transfer_is_refused() -> None:
    make_limit(Kind.TOKEN, 2, 2 * USD)
    make_limit(Kind.TOKEN, 3, USD)
    move(2, 3, USD, "t1")

    with pytest.raises(ValueError, match="another act"):
        move(3, 2, USD, "t1")


@race
def test_a_transfer_waits_a_moment_for_leased_money(monkeypatch: pytest.MonkeyPatch) -> None:
    giver = make_limit(Kind.TOKEN, 2, 2 * USD)
    make_limit(Kind.TOKEN, 3, 0)
    held = lease(giver, 2 * USD)

    def give_back(_seconds: float) -> None:
        giver.refresh_from_db()
        assert giver.recall_at is not None
        held.delete()
        Balance.objects.filter(pk=giver.pk).update(available=F("available") + 2 * USD)

    monkeypatch.setattr("billing.wallets.time.sleep", give_back)

    move(2, 3, 2 * USD, "t1")

    assert (figures(Kind.TOKEN, 2).remaining, figures(Kind.TOKEN, 3).remaining) == (0, 2 * USD)
    assert audit().ok


@race
def test_opposite_transfers_at_once_do_not_deadlock_and_lose_nothing() -> None:
    make_limit(Kind.TOKEN, 2, 50 * USD)
    make_limit(Kind.TOKEN, 3, 50 * USD)

    outcomes = at_once(20, lambda number: move(*((2, 3) if number % 2 else (3, 2)), USD, f"t{number}"))

    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert (figures(Kind.TOKEN, 2).remaining, figures(Kind.TOKEN, 3).remaining) == (50 * USD, 50 * USD)
    assert audit().ok


@race
def test_transfers_at_once_never_move_more_than_there_is() -> None:
    make_limit(Kind.TOKEN, 2, 5 * USD)
    make_limit(Kind.TOKEN, 3, 0)

    outcomes = at_once(20, lambda number: move(2, 3, USD, f"t{number % 10}"))

    assert len({one.pk for one in outcomes if isinstance(one, LimitChange)}) == 5
    assert all(isinstance(one, LimitChange | NotEnoughMoney) for one in outcomes)
    assert (figures(Kind.TOKEN, 2).remaining, figures(Kind.TOKEN, 3).remaining) == (0, 5 * USD)
    assert audit().ok


@alone
def test_an_edit_of_a_limit_leaves_a_row_that_says_by_whom() -> None:
    make_limit(Kind.TOKEN, 2, 5 * USD)
    admin = make_user("root")

    set_limit(Kind.TOKEN, 2, 2 * USD, author=admin, reason="too much")
    set_limit(Kind.TOKEN, 2, 2 * USD, author=admin, reason="as it is")

    change = LimitChange.objects.get()
    assert (change.act, change.amount, change.author_id, change.reason, change.taken_from_id) == ("edit", -3 * USD, admin.pk, "too much", None)
