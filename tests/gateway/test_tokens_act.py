"""Tokens are found by name or id, revoked and enabled."""

import pytest
from django.utils import timezone

from accounts.models import User
from gateway.models import Token
from gateway.tokens import enable_token, find_token, issue_token, revoke_token
from tests.gateway.stored import alice, issue

pytestmark = pytest.mark.django_db


def test_a_token_is_found_by_name_and_by_id() -> None:
    token, _ = issue("bench")

    assert find_token("bench") == find_token(str(token.pk)) == find_token("bench", alice()) == token


def test_a_name_goes_before_an_id() -> None:
    first, _ = issue("first")
    named, _ = issue(str(first.pk))

    assert find_token(str(first.pk)) == named


def test_two_users_may_have_one_name() -> None:
    bob = User.objects.create_user("bob")
    mine, _ = issue("t")
    issue_token(bob, "t", unlimited=True)

    assert find_token("t", alice()) == mine
    with pytest.raises(Token.MultipleObjectsReturned):
        find_token("t")


def test_a_token_of_another_user_is_not_found() -> None:
    token, _ = issue("t")
    bob = User.objects.create_user("bob")

    for name_or_id in ("t", str(token.pk)):
        with pytest.raises(Token.DoesNotExist):
            find_token(name_or_id, bob)


@pytest.mark.parametrize("name_or_id", ["gone", "99999", "٣", "9" * 30, "", "-1"])
def test_there_is_no_such_token(name_or_id: str) -> None:
    issue("t")

    with pytest.raises(Token.DoesNotExist):
        find_token(name_or_id)


def test_a_deleted_token_is_not_found() -> None:
    token, _ = issue("t")
    Token.objects.update(deleted_at=timezone.now())

    for name_or_id in ("t", str(token.pk)):
        with pytest.raises(Token.DoesNotExist):
            find_token(name_or_id)


def test_a_token_is_revoked_and_enabled() -> None:
    token, _ = issue()

    revoke_token(token)
    assert (token.enabled, Token.objects.get().enabled) == (False, False)

    enable_token(token)
    assert (token.enabled, Token.objects.get().enabled) == (True, True)


def test_revoking_writes_nothing_else() -> None:
    """A stale copy of the row brings no old value back."""
    stale, _ = issue("t")
    Token.objects.update(name="renamed")

    revoke_token(stale)

    assert Token.objects.get().name == "renamed"
