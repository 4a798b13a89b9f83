"""Redeeming in the portal: by form for people, with JSON for scripts; several codes at once; wrong guesses are limited."""

from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import redeem, wallets
from tests.console.rows import DOLLAR, person, signed_in

pytestmark = pytest.mark.django_db
URL = "/portal/redeem"


@pytest.fixture(autouse=True)
def fresh_counts() -> None:
    cache.clear()


@pytest.fixture
def alice() -> User:
    return person("alice")


def post(client: Client, code: str, accept: str = "application/json") -> Any:
    return client.post(URL, {"code": code}, headers={"accept": accept})


def test_the_address_is_the_promised_one() -> None:
    assert reverse("portal:redeem") == URL


def test_json_says_what_was_credited(alice: User) -> None:
    code = redeem.mint(1, 5 * DOLLAR)[0]
    answer = post(signed_in(alice), f"  {code.upper()}\n")
    assert answer.status_code == 200
    assert answer.json() == {"ok": True, "credited_usd": "5.00", "balance_usd": "5.00", "codes": [{"code": f"…{code[-4:]}", "amount_usd": "5.00"}]}


def test_a_code_counts_once_and_says_when(alice: User) -> None:
    code = redeem.mint(1, 5 * DOLLAR)[0]
    client = signed_in(alice)
    post(client, code)
    answer = post(client, code)
    assert answer.status_code == 400
    assert "already used on" in answer.json()["error"]
    assert wallets.balance_of(alice) == 5 * DOLLAR


def test_several_lines_at_once(alice: User) -> None:
    first, second = redeem.mint(2, DOLLAR)
    answer = post(signed_in(alice), f"{first}\r\nnonsense\r\n{second}\r\n{first}\r\n")
    assert answer.status_code == 400
    assert answer.json()["credited_usd"] == "2.00"
    assert ["error" in each for each in answer.json()["codes"]] == [False, True, False]


def test_people_get_a_page(alice: User) -> None:
    code = redeem.mint(1, 5 * DOLLAR)[0]
    answer = signed_in(alice).post(URL, {"code": code}, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, follow=True)
    page = answer.content.decode()
    assert "1 code redeemed: $5.00." in page
    assert "Your balance: $5.00" in page
    assert code not in page


def test_guesses_are_limited(alice: User) -> None:
    client = signed_in(alice)
    statuses = [post(client, f"guess{number}").status_code for number in range(12)]
    assert statuses[0] == 400
    assert statuses[-1] == 429
    good = redeem.mint(1, DOLLAR)[0]
    answer = post(client, good)
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "600")
    assert wallets.balance_of(alice) == 0


def test_nothing_entered_is_said(alice: User) -> None:
    assert post(signed_in(alice), " \n ").json()["error"] == "Enter a code."


def test_it_needs_a_sign_in() -> None:
    code = redeem.mint(1, DOLLAR)[0]
    assert post(Client(), code).status_code == 302


def test_banned_users_redeem_nothing(alice: User) -> None:
    client = signed_in(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert post(client, redeem.mint(1, DOLLAR)[0]).status_code == 302
    assert wallets.balance_of(alice) == 0
