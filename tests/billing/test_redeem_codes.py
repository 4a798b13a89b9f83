"""A code credits exactly once, and says why where it does not."""

import datetime
from collections.abc import Iterator

import pytest
from django.core.cache import cache
from django.utils import timezone

from billing import redeem
from billing.audit import audit
from billing.models import LedgerEntry, RedeemCode
from tests.billing.rows import USD, at_once, make_user, remaining, yesterday

alone = pytest.mark.django_db
race = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _no_guesses_yet() -> Iterator[None]:
    cache.clear()
    yield
    cache.clear()


@alone
def test_codes_are_minted_as_lines_of_letters_and_digits() -> None:
    admin = make_user("root")

    codes = redeem.mint(redeem.CHUNK + 1, 5 * USD, author=admin, batch="spring")

    rows = RedeemCode.objects.order_by("id")
    assert len(set(codes)) == rows.count() == redeem.CHUNK + 1
    assert all(len(code) == 32 and code.isascii() and code.isalnum() for code in codes)
    assert "".join(redeem.text_lines(rows)) == "".join(f"{code}\n" for code in codes)
    assert (rows[0].hint, rows[0].batch, rows[0].created_by) == (codes[0][-4:], "spring", admin)


@alone
def test_a_code_is_not_readable_in_the_database() -> None:
    (code,) = redeem.mint(1, USD)

    stored = RedeemCode.objects.extra(select={"raw": "code"}).values_list("raw", "code_hash")[0]

    assert code not in "".join(map(str, stored))


@alone
@pytest.mark.parametrize(("count", "amount"), [(0, 1), (100_001, 1), (1, 0), (1, -1), (1, 10**15 + 1)])
def test_impossible_batches_are_refused(count: int, amount: int) -> None:
    with pytest.raises(ValueError, match=r"\.$"):
        redeem.mint(count, amount)


@alone
@pytest.mark.parametrize("spoiled", ["{}", "  {}\r\n", "\ufeff{}", "{}\u200b", "upper"])
def test_a_code_is_found_however_it_was_copied(spoiled: str) -> None:
    user = make_user()
    (code,) = redeem.mint(1, 5 * USD)

    entry = redeem.redeem(user, code.upper() if spoiled == "upper" else spoiled.format(code))

    assert (entry.amount, entry.act, entry.balance.subject) == (5 * USD, "redeem", user.pk)
    assert remaining(user) == 5 * USD
    assert RedeemCode.objects.get().redeemed_by == user
    assert audit().ok


@alone
def test_several_codes_are_told_apart() -> None:
    assert redeem.codes_in(" abc \r\n\n def, abc；ghi\n") == ["abc", "def", "ghi"]


@alone
def test_a_used_code_says_when_and_by_nobody_else() -> None:
    user, other = make_user(), make_user("bob")
    (code,) = redeem.mint(1, USD)
    redeem.redeem(user, code)

    for who in (user, other):
        with pytest.raises(redeem.AlreadyUsed) as caught:
            redeem.redeem(who, code)
        assert caught.value.at == RedeemCode.objects.get().redeemed_at
        assert str(timezone.localtime(caught.value.at).year) in str(caught.value)

    assert (remaining(user), remaining(other)) == (USD, 0)


@alone
def test_unknown_expired_disabled_and_banned_are_told_apart() -> None:
    user, banned = make_user(), make_user("bob", is_active=False)
    expired, disabled, good = redeem.mint(1, USD, expires_at=yesterday()) + redeem.mint(2, USD)
    RedeemCode.objects.filter(hint=disabled[-4:]).update(enabled=False)

    for who, code, error in (
        (user, "no such code", redeem.UnknownCode),
        (user, "", redeem.UnknownCode),
        (user, "\x00\ud800", redeem.UnknownCode),
        (user, expired, redeem.CodeExpired),
        (user, disabled, redeem.CodeDisabled),
        (banned, good, redeem.UserBanned),
    ):
        with pytest.raises(error):
            redeem.redeem(who, code)

    assert not LedgerEntry.objects.exists()
    assert not RedeemCode.objects.filter(redeemed_by__isnull=False).exists()


@alone
def test_a_code_is_good_until_it_expires() -> None:
    (code,) = redeem.mint(1, USD, expires_at=timezone.now() + datetime.timedelta(minutes=1))

    assert redeem.redeem(make_user(), code).amount == USD


@alone
def test_wrong_guesses_are_limited_by_user() -> None:
    user, other = make_user(), make_user("bob")
    (code,) = redeem.mint(1, USD)
    for guess in range(redeem.GUESSES_OF_USER):
        with pytest.raises(redeem.UnknownCode):
            redeem.redeem(user, f"guess {guess}")

    with pytest.raises(redeem.TooManyGuesses) as caught:
        redeem.redeem(user, code)

    assert caught.value.retry_after == redeem.WINDOW
    assert redeem.redeem(other, code).amount == USD


@alone
def test_wrong_guesses_are_limited_by_address() -> None:
    (code,) = redeem.mint(1, USD)
    for guess in range(redeem.GUESSES_OF_ADDRESS):
        with pytest.raises(redeem.UnknownCode):
            redeem.redeem(make_user(f"u{guess}"), "guess", address="192.0.2.1")
    user = make_user()

    with pytest.raises(redeem.TooManyGuesses):
        redeem.redeem(user, code, address="192.0.2.1")

    assert redeem.redeem(user, code, address="192.0.2.2").amount == USD


@race
def test_a_hundred_who_redeem_one_code_at_once_credit_it_once() -> None:
    users = [make_user(f"u{number}") for number in range(10)]
    (code,) = redeem.mint(1, 5 * USD)

    outcomes = at_once(100, lambda number: redeem.redeem(users[number % 10], code))

    assert sum(isinstance(one, LedgerEntry) for one in outcomes) == 1
    assert sum(isinstance(one, redeem.AlreadyUsed) for one in outcomes) == 99
    assert sum(remaining(user) for user in users) == 5 * USD
    assert audit().ok


@race
def test_different_codes_at_once_all_count() -> None:
    user = make_user()
    codes = redeem.mint(20, USD)

    outcomes = at_once(20, lambda number: redeem.redeem(user, codes[number]))

    assert not [one for one in outcomes if isinstance(one, Exception)]
    assert remaining(user) == 20 * USD
