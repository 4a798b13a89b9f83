"""Issuing a token: the key is shown in that one answer; afterwards no page of the admin has it."""

from typing import Any

import pytest
from django.conf import settings
from django.urls import reverse

from accounts.encryption import digest
from billing import wallets
from billing.models import Kind
from gateway import tokens
from gateway.models import Token
from tests.console.rows import DOLLAR, person, signed_in, staff, superuser

pytestmark = pytest.mark.django_db


def fields(user: Any, **changes: Any) -> dict[str, Any]:
    plain = {
        "user": user.pk, "name": "laptop", "limit": "5", "allowed_models": "gpt-4o, o3-mini", "allowed_subnets": "192.0.2.7\n10.0.0.0/8", "group": "",
        "expires_at_0": "2090-01-02", "expires_at_1": "03:04:05",
    }  # fmt: skip
    return {**plain, **changes}


def test_the_key_is_shown_once() -> None:
    client, alice = signed_in(superuser()), person("alice")
    answer = client.post(reverse("admin:gateway_token_add"), fields(alice))
    page = answer.content.decode()
    assert answer.status_code == 200, page
    key = page.split('value="sk-')[1].split('"')[0]
    token = Token.objects.get()
    assert token.key_hash == digest(f"sk-{key}")
    assert "no-store" in answer.headers["Cache-Control"]
    for url in (reverse("admin:gateway_token_changelist"), reverse("admin:gateway_token_change", args=[token.pk]), reverse("admin:index")):
        assert key not in client.get(url).content.decode()
    assert key not in str(dict(client.session))
    assert key not in str(client.cookies)


def test_what_was_entered_is_kept() -> None:
    alice = person("alice")
    signed_in(superuser()).post(reverse("admin:gateway_token_add"), fields(alice))
    token = Token.objects.get()
    assert (token.user, token.name, token.unlimited) == (alice, "laptop", False)
    assert sorted(token.allowed_models) == ["gpt-4o", "o3-mini"]
    assert token.allowed_subnets == ["192.0.2.7/32", "10.0.0.0/8"]
    assert wallets.figures(Kind.TOKEN, token.pk).remaining == 5 * DOLLAR


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit": ""}, "limit"),
        ({"unlimited": "on"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "five"}, "limit"),
        ({"limit": "0.0000000001"}, "limit"),
        ({"allowed_subnets": "10.0.0.0/99"}, "allowed_subnets"),
        ({"expires_at_0": "2001-01-01"}, "expires_at"),
        ({"name": "\x07"}, "name"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, str], field: str) -> None:
    answer = signed_in(superuser()).post(reverse("admin:gateway_token_add"), fields(person("alice"), **changes))
    assert answer.context["adminform"].form.errors[field]
    assert not Token.objects.exists()


def test_names_are_unique_a_user() -> None:
    alice = person("alice")
    tokens.issue_token(alice, "laptop", unlimited=True)
    answer = signed_in(superuser()).post(reverse("admin:gateway_token_add"), fields(alice))
    assert "already" in str(answer.context["adminform"].form.errors["name"])


def test_a_form_that_was_opened_before_a_request_gives_no_money_back() -> None:
    """The remaining limit is set only where a new one is entered (docs/security.md 16)."""
    alice = person("alice")
    token, _key = tokens.issue_token(alice, "laptop", limit_nano=5 * DOLLAR)
    wallets.set_limit(Kind.TOKEN, token.pk, 2 * DOLLAR)  # as if three dollars were spent while the form was open
    url, client = reverse("admin:gateway_token_change", args=[token.pk]), signed_in(superuser())
    form = {"name": "desk", "enabled": "on", "allowed_models": "", "allowed_subnets": "", "group": "", "new_remaining": ""}
    assert client.post(url, {**form, "remaining_usd": "5", "used": "0", "limit": "99"}).status_code == 302
    assert wallets.figures(Kind.TOKEN, token.pk).remaining == 2 * DOLLAR
    assert client.post(url, {**form, "new_remaining": "7.5"}).status_code == 302
    assert wallets.figures(Kind.TOKEN, token.pk).remaining == 7_500_000_000
    token.refresh_from_db()
    assert (token.name, token.key_hash, token.user) == ("desk", Token.objects.get().key_hash, alice)


def test_a_token_that_becomes_limited_needs_a_limit() -> None:
    token, _key = tokens.issue_token(person("alice"), "laptop", unlimited=True)
    url, client = reverse("admin:gateway_token_change", args=[token.pk]), signed_in(superuser())
    form = {"name": "laptop", "enabled": "on", "allowed_models": "", "allowed_subnets": "", "group": ""}
    assert "new_remaining" in client.post(url, form).context["adminform"].form.errors
    assert client.post(url, {**form, "new_remaining": "1"}).status_code == 302
    token.refresh_from_db()
    assert not token.unlimited


def test_revoke_and_enable_from_the_list() -> None:
    token, _key = tokens.issue_token(person("alice"), "laptop", unlimited=True)
    client, url = signed_in(staff()), reverse("admin:gateway_token_changelist")
    for name, enabled in (("revoke", False), ("enable", True)):
        client.post(url, {"action": name, "_selected_action": [token.pk]})
        token.refresh_from_db()
        assert token.enabled is enabled
    client.post(url, {"action": "tombstone", "_selected_action": [token.pk]})
    token.refresh_from_db()
    assert token.deleted_at is not None
    assert token.key == ""


def test_where_keys_are_shown_once_none_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REVEAL_KEYS", False)
    signed_in(superuser()).post(reverse("admin:gateway_token_add"), fields(person("alice")))
    assert Token.objects.get().key == ""
