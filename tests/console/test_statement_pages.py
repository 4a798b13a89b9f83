"""Statements as pages and files: for staff and for the owner, filtered, paged, and nothing to anybody else."""

import csv
import io

import pytest
from django.test import Client
from django.urls import reverse

from billing import wallets
from billing.models import Balance, Kind
from tests.billing.rows import charge
from tests.console.rows import DOLLAR, World, person, signed_in, superuser, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows() -> World:
    return world()


def download(client: Client, url: str, **query: str) -> list[dict[str, str]]:
    answer = client.get(url, {**query, "format": "csv"})
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.getvalue().decode("utf-8-sig"))))


def test_the_owner_sees_lines_and_ends(rows: World) -> None:
    charge([wallets.wallet_of(rows.user.pk)], DOLLAR, user_id=rows.user.pk, token_id=rows.token.pk, model="gpt-4o")
    client = signed_in(rows.user)
    page = client.get(reverse("portal:statement"))
    assert [(row["line"].amount, row["line"].balance) for row in page.context["rows"]] == [(-DOLLAR, 19 * DOLLAR), (20 * DOLLAR, 20 * DOLLAR)]
    for text in ("bank transfer", "gpt-4o", "laptop", "$19.00"):
        assert text in page.content.decode(), text
    assert [row["line"].kind for row in client.get(reverse("portal:statement"), {"kind": "topup"}).context["rows"]] == ["topup"]


def test_a_tokens_statement_begins_with_its_limit(rows: World) -> None:
    page = signed_in(rows.user).get(reverse("portal:token_statement", args=[rows.token.pk]))
    assert [(row["line"].kind, row["line"].balance) for row in page.context["rows"]] == [("edit", 4 * DOLLAR), ("limit", 5 * DOLLAR)]


def test_anothers_statement_is_a_404_and_his_own_shows_nothing_of_it(rows: World) -> None:
    mallory = signed_in(person("mallory"))
    assert mallory.get(reverse("portal:token_statement", args=[rows.token.pk])).status_code == 404
    page = mallory.get(reverse("portal:statement"), {"token": rows.token.pk}).content.decode()
    assert "laptop" not in page
    assert "bank transfer" not in page
    assert not Balance.objects.filter(kind=Kind.WALLET, subject__gt=rows.user.pk).exists()


def test_pages_join_without_a_gap(rows: World) -> None:
    for _number in range(60):
        charge([wallets.wallet_of(rows.user.pk)], DOLLAR // 10, user_id=rows.user.pk, token_id=rows.token.pk)
    client, url = signed_in(superuser()), reverse("admin:accounts_user_statement", args=[rows.user.pk])
    first = client.get(url).context
    second = client.get(f"{url}?{first['more']}").context
    assert (len(first["rows"]), len(second["rows"]), second["more"]) == (50, 11, "")
    assert first["rows"][-1]["line"].balance + DOLLAR // 10 == second["rows"][0]["line"].balance


@pytest.mark.parametrize(
    "text", ["x", "\x00", "9" * 40, "2026-13-45", "0001-01-01", "9999-12-31", "a~b~c~d", "2026-01-01T00:00:00+00:00~0~0~x", "' OR 1=1"]
)
def test_nonsense_in_the_address_is_left_out(rows: World, text: str) -> None:
    query = dict.fromkeys(("from", "to", "kind", "model", "token", "before"), text)
    assert signed_in(rows.user).get(reverse("portal:statement"), query).status_code == 200


def test_the_file_holds_no_formula_and_no_secret_of_the_operator(rows: World) -> None:
    wallets.credit(rows.user, DOLLAR, rows.user, "=HYPERLINK(1)", "@ref")
    charge([wallets.wallet_of(rows.user.pk)], DOLLAR, user_id=rows.user.pk, token_id=rows.token.pk, model="+cmd")
    own = download(signed_in(rows.user), reverse("portal:statement"))
    inside = download(signed_in(superuser()), reverse("admin:accounts_user_statement", args=[rows.user.pk]))
    assert [(line["usd"], line["balance_usd"], line["reason"], line["model"]) for line in own[1:]] == [
        ("1.00", "21.00", "'=HYPERLINK(1)", ""), ("-1.00", "20.00", "", "'+cmd")
    ]  # fmt: skip
    assert "reference" not in own[0]
    assert inside[1]["reference"] == "'@ref"
    assert inside[1]["author"] == "alice"
