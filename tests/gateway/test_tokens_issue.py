"""A token is issued with a key that is shown once and kept as its digest and, for its owner, encrypted."""

import re
from typing import Any

import pytest
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import connection

from accounts.encryption import digest
from billing.models import Balance, Kind
from billing.wallets import figures
from gateway.models import Token
from gateway.tokens import issue_token
from tests.gateway.stored import alice, issue, run_sql

pytestmark = pytest.mark.django_db
USD = 10**9


def column_of_key() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM gateway_token")
        return str(cursor.fetchone()[0])


def test_a_key_is_48_letters_and_digits_behind_sk() -> None:
    token, key = issue()

    assert re.fullmatch("sk-[A-Za-z0-9]{48}", key)
    assert (token.key_hash, token.hint) == (digest(key), key[-4:])


def test_no_key_comes_twice() -> None:
    assert len({issue(f"t{number}")[1] for number in range(50)}) == 50


def test_the_key_is_encrypted_at_rest() -> None:
    token, key = issue()

    assert key[3:] not in column_of_key()
    assert Token.objects.get(pk=token.pk).key == key


def test_without_reveal_the_key_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REVEAL_KEYS", False)

    token, key = issue()

    assert column_of_key() == ""
    assert token.key_hash == digest(key)


def test_a_limit_is_a_balance_of_the_token() -> None:
    token, _ = issue_token(alice(), "t", limit_nano=5 * USD)

    assert not token.unlimited
    assert figures(Kind.TOKEN, token.pk).remaining == 5 * USD


def test_an_unlimited_token_has_no_balance() -> None:
    issue()

    assert not Balance.objects.filter(kind=Kind.TOKEN).exists()


@pytest.mark.parametrize(
    "changes",
    [{"unlimited": False}, {"unlimited": True, "limit_nano": 5}, {"subnets": ["nonsense"]}, {"subnets": ["10.0.0.0/99"]}],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        issue(**changes)

    assert not Token.objects.exists()


@pytest.mark.parametrize("limit", [-1, 10**18])
def test_a_limit_out_of_range_leaves_no_token(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        issue_token(alice(), "t", limit_nano=limit)

    assert not Token.objects.exists()


def test_a_name_is_used_once_by_a_user() -> None:
    issue("t")

    with pytest.raises(ValidationError):
        issue(" t ")


def test_the_name_of_a_deleted_token_is_free() -> None:
    issue("t")
    run_sql("UPDATE gateway_token SET deleted_at = CURRENT_TIMESTAMP")

    issue("t")


def test_models_and_subnets_are_kept_in_order() -> None:
    token, _ = issue(models=[" o1", "gpt-4o", "", "o1"], subnets=["10.1.2.3/8", " 2001:db8::/32 "])

    assert token.allowed_models == ["gpt-4o", "o1"]
    assert token.allowed_subnets == ["10.0.0.0/8", "2001:db8::/32"]
