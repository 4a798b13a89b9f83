"""A user's own tokens: issued in his own group, shown once or again after a fresh sign-in, revoked, deleted."""

import time

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from accounts.encryption import digest
from accounts.models import Group, User
from billing import wallets
from billing.models import Kind
from gateway import portal
from gateway.models import Token
from tests.console.rows import DOLLAR, PASSWORD, person, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return person("alice")


def create(client: Client, **changes: str) -> str:
    form = {"name": "laptop", "limit": "", "expires_at": "", "allowed_models": "", "allowed_subnets": "", **changes}
    return client.post(reverse("portal:tokens"), form).content.decode()


def key_in(page: str) -> str:
    return "sk-" + page.split('class="secret">sk-')[1].split("<")[0]


def test_the_answer_shows_the_key(alice: User) -> None:
    page = create(signed_in(alice), allowed_models="gpt-4o", allowed_subnets="192.0.2.0/24", expires_at="2090-01-01T10:00")
    token = Token.objects.get()
    assert digest(key_in(page)) == token.key_hash
    assert (token.user, token.unlimited, token.allowed_models, token.allowed_subnets) == (alice, True, ["gpt-4o"], ["192.0.2.0/24"])


def test_a_limit_is_kept_in_nano_dollars(alice: User) -> None:
    create(signed_in(alice), limit="0.5")
    token = Token.objects.get()
    assert not token.unlimited
    assert wallets.figures(Kind.TOKEN, token.pk).remaining == DOLLAR // 2


def test_no_field_but_the_forms_own_counts(alice: User) -> None:
    """Posting all fields of the model moves no group, user, key or money (docs/security.md 7)."""
    cheap, bob = Group.objects.create(name="cheap", ratio_ppm=0), person("bob")
    create(signed_in(alice), group=str(cheap.pk), user=str(bob.pk), unlimited="", key="sk-mine", key_hash="0" * 64, hint="x", id="77", enabled="")
    token = Token.objects.get()
    assert (token.user, token.group, token.enabled) == (alice, None, True)
    assert token.key_hash not in {"0" * 64, digest("sk-mine")}
    assert wallets.balance_of(alice) == 0


@pytest.mark.parametrize("changes", [{"name": ""}, {"limit": "-1"}, {"limit": "0"}, {"expires_at": "2001-01-01T00:00"}, {"allowed_subnets": "x"}])
def test_what_is_wrong_is_said(alice: User, changes: dict[str, str]) -> None:
    assert "wrong-text" in create(signed_in(alice), **changes)
    assert not Token.objects.exists()


def test_names_are_unique_a_user(alice: User) -> None:
    create(signed_in(alice))
    create(signed_in(person("bob")))
    assert "wrong-text" in create(signed_in(alice))
    assert Token.objects.count() == 2


def test_there_is_a_bound(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "TOKENS_LIMIT", 1)
    create(signed_in(alice))
    create(signed_in(alice), name="second")
    assert Token.objects.count() == 1


def test_revoked_then_deleted(alice: User) -> None:
    client = signed_in(alice)
    create(client)
    token = Token.objects.get()
    for expected in ((False, False), (False, True)):
        client.post(reverse("portal:revoke", args=[token.pk]))
        token.refresh_from_db()
        assert (token.enabled, token.deleted_at is not None) == expected
    assert token.key == ""
    create(client)
    assert Token.objects.count() == 2


def test_a_key_is_shown_again_only_after_the_password(alice: User) -> None:
    client = signed_in(alice)
    key = key_in(create(client))
    token = Token.objects.get()
    url = reverse("portal:reveal", args=[token.pk])
    answer = client.post(url)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(reverse("account_reauthenticate"))
    asked = client.post(answer.headers["Location"], {"password": PASSWORD, "next": url})
    assert key in asked.content.decode()
    assert "no-store" in asked.headers["Cache-Control"]
    entry = LogEntry.objects.get(object_id=str(token.pk))
    assert (entry.user, key in entry.change_message) == (alice, False)


def test_the_password_counts_for_minutes_only(alice: User) -> None:
    client = signed_in(alice)
    create(client)
    url = reverse("portal:reveal", args=[Token.objects.get().pk])
    client.post(client.post(url).headers["Location"], {"password": PASSWORD, "next": url})
    assert client.post(url).status_code == 200
    session = client.session
    for method in session["account_authentication_methods"]:
        method["at"] = time.time() - 3600
    session.save()
    assert client.post(url).status_code == 302


def test_a_wrong_password_shows_nothing(alice: User) -> None:
    client = signed_in(alice)
    key = key_in(create(client))
    url = reverse("portal:reveal", args=[Token.objects.get().pk])
    answer = client.post(client.post(url).headers["Location"], {"password": "wrong", "next": url})
    assert key not in answer.content.decode()


def test_not_even_a_superuser_is_shown_anothers_key(alice: User) -> None:
    create(signed_in(alice))
    client = signed_in(person("root", is_staff=True, is_superuser=True))
    assert client.post(reverse("portal:reveal", args=[Token.objects.get().pk])).status_code == 404


def test_an_operator_can_switch_it_off(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "REVEAL_KEYS", False)
    client = signed_in(alice)
    page = create(client)
    assert "never again" in page
    assert client.post(reverse("portal:reveal", args=[Token.objects.get().pk])).status_code == 404
    assert "Show key" not in client.get(reverse("portal:tokens")).content.decode()
