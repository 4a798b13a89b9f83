"""One sign-in for portal and admin: throttled by account and by address, with the second factor (docs/security.md 29)."""

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import User
from tests.console.rows import PASSWORD, person, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_counts() -> None:
    cache.clear()


def attempt(client: Client, login: str, password: str) -> int:
    return client.post(reverse("account_login"), {"login": login, "password": password}).status_code


def test_bad_passwords_are_throttled_by_account() -> None:
    person("alice")
    client = Client()
    for number in range(6):
        attempt(client, "alice", f"wrong {number}")
    answer = client.post(reverse("account_login"), {"login": "alice", "password": PASSWORD}, follow=True)
    assert answer.request["PATH_INFO"] == reverse("account_login")
    assert "_auth_user_id" not in client.session


def test_bad_passwords_are_throttled_by_address() -> None:
    person("bob")
    client = Client()
    for number in range(12):
        attempt(client, f"somebody{number}", "wrong")
    attempt(client, "bob", PASSWORD)
    assert "_auth_user_id" not in client.session


def test_a_good_password_signs_in() -> None:
    person("carol")
    client = Client()
    assert attempt(client, "carol", PASSWORD) == 302
    assert client.get("/").status_code == 200


def test_the_admin_has_no_sign_in_of_its_own() -> None:
    """Its own form would know neither throttle nor second factor."""
    superuser()
    client = Client()
    answer = client.post("/admin/login/", {"username": "root", "password": PASSWORD})
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(reverse("account_login"))
    assert "_auth_user_id" not in client.session


def test_the_way_to_the_admin_goes_through_the_sign_in() -> None:
    superuser()
    client = Client()
    page = client.get("/admin/", follow=True)
    assert page.request["PATH_INFO"] == reverse("account_login")
    answer = client.post(page.request["PATH_INFO"] + "?" + page.request["QUERY_STRING"], {"login": "root", "password": PASSWORD, "next": "/admin/"})
    assert answer.headers["Location"] == "/admin/"


def test_banned_users_stay_out_and_fall_out() -> None:
    alice = person("alice")
    client = Client()
    attempt(client, "alice", PASSWORD)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get("/").status_code == 302
    other = Client()
    attempt(other, "alice", PASSWORD)
    assert "_auth_user_id" not in other.session


def test_sign_up_is_closed() -> None:
    client = Client()
    form = {"username": "eve", "email": "e@example.com", "password1": "a long password 1", "password2": "a long password 1"}
    client.post(reverse("account_signup"), form)
    assert not User.objects.filter(username="eve").exists()


def test_no_redirect_leads_to_another_site() -> None:
    person("alice")
    answer = Client().post(reverse("account_login"), {"login": "alice", "password": PASSWORD, "next": "https://evil.example/"})
    assert answer.headers["Location"] == "/"
