"""Budgets as pages: staff set those of lower ranks and of tokens, owners those of their own tokens, and nobody else any."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse

from billing.budgets import set_budgets, standings
from billing.models import Budget, Kind
from tests.console.rows import DOLLAR, World, person, signed_in, staff, superuser, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows() -> World:
    return world()


def limits(owner: str, subject: int) -> dict[str, int]:
    return {standing.period: standing.limit for standing in standings(owner, subject)}


def post(client: Client, url: str, **budgets: str) -> int:
    return client.post(url, {"day": "", "week": "", "month": "", **budgets}).status_code


def test_staff_set_change_and_remove_budgets_of_a_user(rows: World) -> None:
    client, url = signed_in(staff()), reverse("admin:accounts_user_budgets", args=[rows.user.pk])
    assert post(client, url, day="2.5", month="40") == 302
    assert limits("user", rows.user.pk) == {"day": 5 * DOLLAR // 2, "month": 40 * DOLLAR}
    assert "$0.00 of it used; it begins anew on" in client.get(url).content.decode()
    assert post(client, url, day="3") == 302
    assert limits("user", rows.user.pk) == {"day": 3 * DOLLAR}
    assert [entry.object_id for entry in LogEntry.objects.all()] == [str(rows.user.pk)] * 2
    assert post(client, url, day="3.00") == 302  # as it is: nothing to note
    assert LogEntry.objects.count() == 2


def test_staff_set_budgets_of_a_token(rows: World) -> None:
    assert post(signed_in(staff()), reverse("admin:gateway_token_budgets", args=[rows.token.pk]), week="1") == 302
    assert limits("token", rows.token.pk) == {"week": DOLLAR}


@pytest.mark.parametrize("text", ["-1", "x", "1e3", "1000001", "0.0000000001"])
def test_nonsense_is_refused_in_the_form(rows: World, text: str) -> None:
    for client, url in (
        (signed_in(superuser()), reverse("admin:accounts_user_budgets", args=[rows.user.pk])),
        (signed_in(rows.user), reverse("portal:token_budgets", args=[rows.token.pk])),
    ):
        assert post(client, url, day=text, month="5") == 200
    assert not Budget.objects.exists()


def test_staff_act_on_lower_ranks_only(rows: World) -> None:
    boss, equal = superuser(), person("equal", is_staff=True)
    clerk = signed_in(staff())
    for user in (boss, equal):
        assert post(clerk, reverse("admin:accounts_user_budgets", args=[user.pk]), day="1") in {403, 404}
    assert not Budget.objects.exists()


def test_staff_without_the_right_to_change_see_no_budgets(rows: World) -> None:
    viewer = signed_in(person("viewer", is_staff=True, permissions=("accounts.view_user", "gateway.view_token")))
    for name, row in (("accounts_user", rows.user), ("gateway_token", rows.token)):
        assert viewer.get(reverse(f"admin:{name}_budgets", args=[row.pk])).status_code == 403


def test_owners_set_budgets_of_their_own_tokens_only(rows: World) -> None:
    url = reverse("portal:token_budgets", args=[rows.token.pk])
    assert post(signed_in(rows.user), url, day="0.5") == 302
    assert limits("token", rows.token.pk) == {"day": DOLLAR // 2}
    assert post(signed_in(person("mallory")), url, day="9") == 404
    assert limits("token", rows.token.pk) == {"day": DOLLAR // 2}


def test_a_users_own_budgets_stand_at_the_top_of_the_portal(rows: World) -> None:
    set_budgets("user", rows.user.pk, {"day": 2 * DOLLAR, "month": 30 * DOLLAR})
    page = signed_in(rows.user).get(reverse("portal:home")).content.decode()
    for text in ("Budget per day", "Budget per month", "$2.00", "$30.00", "$0.00 of it used; it begins anew on"):
        assert text in page, text
    assert "Budget per week" not in page


def test_a_budget_of_nothing_is_a_budget(rows: World) -> None:
    assert post(signed_in(superuser()), reverse("admin:accounts_user_budgets", args=[rows.user.pk]), day="0") == 302
    assert list(Budget.objects.values_list("kind", "limit")) == [(Kind.USER_DAY, 0)]
