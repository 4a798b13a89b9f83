"""Staff act on lower ranks only: bans, passwords, second factors, money, tokens (docs/security.md 8)."""

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import wallets
from gateway import tokens
from tests.console.rows import DOLLAR, person, signed_in, staff, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture
def people() -> dict[str, User]:
    return {"superuser": superuser(), "staff": staff("peer"), "user": person("alice")}


@pytest.fixture
def clerk() -> Client:
    return signed_in(staff())


@pytest.mark.parametrize("target", ["superuser", "staff"])
def test_staff_do_nothing_to_their_own_rank_and_above(clerk: Client, people: dict[str, User], target: str) -> None:
    user = people[target]
    Authenticator.objects.create(user=user, type="totp", data={"secret": "x"})
    token, _key = tokens.issue_token(user, "own", unlimited=True)
    listed = {"_selected_action": [user.pk]}
    for action in ("ban", "reset_second_factor", "tombstone"):
        clerk.post(reverse("admin:accounts_user_changelist"), {"action": action, **listed})
    for action in ("revoke", "tombstone"):
        clerk.post(reverse("admin:gateway_token_changelist"), {"action": action, "_selected_action": [token.pk]})
    assert clerk.post(reverse("admin:accounts_user_change", args=[user.pk]), {"username": "taken"}).status_code == 403
    new = {"password1": "another password 1", "password2": "another password 1", "usable_password": "true"}
    assert clerk.post(reverse("admin:auth_user_password_change", args=[user.pk]), new).status_code == 403
    assert clerk.post(reverse("admin:accounts_user_credit", args=[user.pk]), {"amount": "1"}).status_code == 403
    assert clerk.post(reverse("admin:gateway_token_change", args=[token.pk]), {"name": "mine"}).status_code == 403
    issue = {"user": user.pk, "name": "way in", "unlimited": "on", "limit": ""}
    assert clerk.post(reverse("admin:gateway_token_add"), issue).context["adminform"].form.errors["user"]
    fresh = User.objects.get(pk=user.pk)
    assert (fresh.is_active, fresh.password, fresh.username, fresh.deleted_at) == (True, user.password, user.username, None)
    assert Authenticator.objects.filter(user=user).exists()
    assert wallets.balance_of(user) == 0
    token.refresh_from_db()
    assert token.enabled


def test_staff_act_on_users(clerk: Client, people: dict[str, User]) -> None:
    alice = people["user"]
    clerk.post(reverse("admin:accounts_user_changelist"), {"action": "ban", "_selected_action": [alice.pk]})
    alice.refresh_from_db()
    assert not alice.is_active
    form = {"amount": "2.5", "reason": "sorry", "reference": "6f6c4c0e-5a53-4e3b-8d5d-0d8f2f9f0001"}
    for _again in range(2):
        assert clerk.post(reverse("admin:accounts_user_credit", args=[alice.pk]), form).status_code == 302
    assert wallets.balance_of(alice) == 2 * DOLLAR + DOLLAR // 2


def test_nobody_rises_by_a_form(clerk: Client, people: dict[str, User]) -> None:
    alice = people["user"]
    rise = {"is_staff": "on", "is_superuser": "on", "unlimited": "on", "user_permissions": ["1"], "groups": ["1"]}
    form = {"username": "alice", "group": alice.group_id, "is_active": "on", **rise}
    assert clerk.post(reverse("admin:accounts_user_change", args=[alice.pk]), form).status_code == 302
    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_superuser, alice.unlimited) == (False, False, False)
    assert not alice.user_permissions.exists()


def test_a_new_user_has_no_rank_whatever_is_posted(clerk: Client, people: dict[str, User]) -> None:
    form = {
        "username": "mallory", "group": people["user"].group_id, "password1": "quite a long one 1", "password2": "quite a long one 1",
        "usable_password": "true", "is_staff": "on", "is_superuser": "on", "unlimited": "on",
    }  # fmt: skip
    assert clerk.post(reverse("admin:accounts_user_add"), form).status_code == 302
    made = User.objects.get(username="mallory")
    assert (made.is_staff, made.is_superuser, made.unlimited) == (False, False, False)


def test_a_superuser_cannot_lock_himself_out() -> None:
    root = superuser()
    client = signed_in(root)
    client.post(reverse("admin:accounts_user_changelist"), {"action": "ban", "_selected_action": [root.pk]})
    client.post(reverse("admin:accounts_user_change", args=[root.pk]), {"username": "root", "group": root.group_id})
    root.refresh_from_db()
    assert (root.is_active, root.is_superuser) == (True, True)


def test_staff_without_the_right_to_credit_cannot(people: dict[str, User]) -> None:
    client = signed_in(person("helper", is_staff=True, permissions=("accounts.view_user", "accounts.change_user")))
    assert client.post(reverse("admin:accounts_user_credit", args=[people["user"].pk]), {"amount": "5"}).status_code == 403
    assert wallets.balance_of(people["user"]) == 0


def test_a_banned_superuser_is_no_prey_of_staff(clerk: Client, people: dict[str, User]) -> None:
    User.objects.filter(pk=people["superuser"].pk).update(is_active=False)
    clerk.post(reverse("admin:accounts_user_changelist"), {"action": "enable", "_selected_action": [people["superuser"].pk]})
    assert not User.objects.get(pk=people["superuser"].pk).is_active
