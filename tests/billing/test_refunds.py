"""A refund gives a charge back to the wallet that it names, never more than the charge, and once a reference."""

import uuid

import pytest

from accounts.models import User
from billing.acts import refund
from billing.audit import audit
from billing.models import Kind, LedgerEntry, UsageRecord
from billing.wallets import credit, figures, make_limit, wallet_of
from tests.billing.rows import USD, at_once, charge, make_user, remaining

race = pytest.mark.django_db(transaction=True)
alone = pytest.mark.django_db


def charged(amount: int = 4 * USD) -> tuple[User, UsageRecord]:
    """A user with 10 dollars and a charge on his wallet and on a token's limit of 10."""
    user = make_user()
    credit(user, 10 * USD)
    token = make_limit(Kind.TOKEN, 2, 10 * USD)
    return user, charge([token, wallet_of(user.pk)], amount, user_id=user.pk)


@alone
def test_a_refund_is_an_entry_and_money_and_the_token_keeps_the_charge_as_used() -> None:
    user, record = charged()
    admin = make_user("root")

    entry = refund(record.pk, USD, author=admin, reason="broken\x00 answer", reference="r1")

    record.refresh_from_db()
    assert (entry.act, entry.amount, entry.author_id, entry.reason, entry.charge) == ("refund", USD, admin.pk, "broken  answer", record.pk)
    assert (record.refunded, remaining(user)) == (USD, 7 * USD)
    assert figures(Kind.TOKEN, 2).remaining == 6 * USD
    assert audit().ok


@alone
def test_without_an_amount_all_that_is_left_is_given_back() -> None:
    user, record = charged()
    refund(record.pk, USD, author=None, reason="", reference="r1")

    assert refund(record.pk, None, author=None, reason="", reference="r2").amount == 3 * USD

    assert remaining(user) == 10 * USD
    with pytest.raises(ValueError, match="Nothing of this charge"):
        refund(record.pk, None, author=None, reason="", reference="r3")
    assert audit().ok


@alone
def test_the_same_reference_gives_back_once_and_says_so() -> None:
    user, record = charged()

    first = refund(record.pk, None, author=None, reason="", reference="r1")
    again = refund(record.pk, None, author=None, reason="", reference="r1")

    assert (first.pk, first.repeated, again.repeated) == (again.pk, False, True)
    assert remaining(user) == 10 * USD


@alone
def test_a_reference_of_another_act_is_refused() -> None:
    user, record = charged()
    credit(user, USD, idempotency_key="r1")

    with pytest.raises(ValueError, match="another act"):
        refund(record.pk, None, author=None, reason="", reference="r1")


@alone
@pytest.mark.parametrize("amount", [0, -1, 4 * USD + 1, 10**15 + 1])
def test_more_than_the_charge_or_nothing_is_refused(amount: int) -> None:
    user, record = charged()

    with pytest.raises(ValueError, match=r"\.$"):
        refund(record.pk, amount, author=None, reason="", reference="r1")

    record.refresh_from_db()
    assert (record.refunded, remaining(user)) == (0, 6 * USD)
    assert LedgerEntry.objects.count() == 1


@alone
@pytest.mark.parametrize("reference", ["", "x" * 129, "a\nb", "redeem:1"])
def test_a_reference_that_is_none_is_refused(reference: str) -> None:
    _user, record = charged()

    with pytest.raises(ValueError, match="eference"):
        refund(record.pk, None, author=None, reason="", reference=reference)


@alone
def test_a_charge_that_named_no_wallet_has_none_to_go_back_to() -> None:
    record = charge([make_limit(Kind.TOKEN, 2, USD)], USD)

    with pytest.raises(ValueError, match="no wallet"):
        refund(record.pk, None, author=None, reason="", reference="r1")
    with pytest.raises(ValueError, match="no charge"):
        refund(uuid.uuid4(), None, author=None, reason="", reference="r1")


@race
def test_refunds_at_once_never_exceed_the_charge() -> None:
    # Given a charge of 4 dollars, and ten who give a dollar of it back, half of them under a reference that another uses too
    user, record = charged()

    outcomes = at_once(20, lambda number: refund(record.pk, USD, author=None, reason="", reference=f"r{number % 10}"))

    # Then four references succeeded, and everybody else was refused or told of the first entry
    entries = {one.pk for one in outcomes if isinstance(one, LedgerEntry)}
    assert len(entries) == 4
    assert all(isinstance(one, LedgerEntry | ValueError) for one in outcomes)
    record.refresh_from_db()
    assert (record.refunded, remaining(user)) == (4 * USD, 10 * USD)
    assert audit().ok


@race
def test_one_reference_at_once_is_one_refund() -> None:
    user, record = charged()

    outcomes = at_once(10, lambda _number: refund(record.pk, None, author=None, reason="", reference="r1"))

    assert len({one.pk for one in outcomes if isinstance(one, LedgerEntry)}) == 1
    assert sum(isinstance(one, LedgerEntry) and not one.repeated for one in outcomes) == 1
    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert remaining(user) == 10 * USD
    assert audit().ok
