"""`manage.py money`: every act as a command, once a reference, with reason and author."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from accounts.models import User
from billing.audit import audit
from billing.models import LedgerEntry, LimitChange
from billing.wallets import balance_of, wallet_of
from gateway.tokens import issue_token
from tests.billing.rows import USD, charge, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return make_user()


def money(*arguments: str, reference: str = "r1") -> dict[str, Any]:
    out = StringIO()
    try:
        call_command("money", *arguments, "--json", "--reference", reference, "--reason", "as agreed", stdout=out, stderr=StringIO())
    except SystemExit as stopped:
        if stopped.code != 1:
            raise
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


def test_credit_and_debit(alice: User) -> None:
    clerk = make_user("clerk")

    credited = money("credit", "--user", "alice", "--usd", "5", "--author", "clerk")
    debited = money("debit", "--user", "alice", "--usd", "1.5", reference="r2")

    assert (credited["amount_nanodollars"], credited["usd"], credited["repeated"], credited["reference"]) == (5 * USD, "5.00", False, "r1")
    assert (debited["act"], debited["amount_nanodollars"], debited["usd"]) == ("adjustment", -1_500_000_000, "3.50")
    assert [(one.author_id, one.reason) for one in LedgerEntry.objects.order_by("pk")] == [(clerk.pk, "as agreed"), (None, "as agreed")]


def test_a_repeated_reference_gives_the_first_result_and_says_so(alice: User) -> None:
    first = money("credit", "--user", "alice", "--usd", "5")
    again = money("credit", "--user", "alice", "--usd", "5")
    other = money("credit", "--user", "alice", "--usd", "6")

    assert (first["entry"], first["repeated"], again["repeated"]) == (again["entry"], False, True)
    assert "another entry" in other["error"]
    assert balance_of(alice) == 5 * USD


def test_refund_and_write_off(alice: User) -> None:
    record = charge([wallet_of(alice.pk)], 4 * USD, user_id=alice.pk)

    part = money("refund", "--charge", str(record.pk), "--usd", "1")
    rest = money("write-off", "--user", "alice", reference="r2")

    assert (part["act"], part["charge"], part["usd"]) == ("refund", str(record.pk), "-3.00")
    assert (rest["act"], rest["amount_nanodollars"], rest["usd"]) == ("writeoff", 3 * USD, "0.00")
    assert audit().ok


def test_transfer(alice: User) -> None:
    issue_token(alice, "old", limit_nano=5 * USD)
    issue_token(alice, "new", limit_nano=USD)

    moved = money("transfer", "--from", "old", "--to", "new", "--usd", "2")
    again = money("transfer", "--from", "old", "--to", "new", "--usd", "2")

    assert (moved["from_usd"], moved["to_usd"], moved["repeated"], again["repeated"]) == ("3.00", "3.00", False, True)
    assert LimitChange.objects.get().reason == "as agreed"


def test_limits_stay_with_their_user_and_with_tokens_that_have_one(alice: User) -> None:
    issue_token(alice, "old", limit_nano=5 * USD)
    issue_token(alice, "free", unlimited=True)
    issue_token(make_user("bob"), "new", limit_nano=USD)

    assert "same user" in money("transfer", "--from", "old", "--to", "new", "--usd", "2")["error"]
    assert "unlimited" in money("transfer", "--from", "old", "--to", "free", "--usd", "2")["error"]
    assert "no token" in money("transfer", "--from", "old", "--to", "none", "--usd", "2")["error"]
    assert not LimitChange.objects.exists()


@pytest.mark.parametrize("amount", ["0", "-1", "x"])
def test_an_amount_that_is_none_is_refused(alice: User, amount: str) -> None:
    assert money("credit", "--user", "alice", f"--usd={amount}")["error"]
    assert balance_of(alice) == 0


def test_a_statement_as_json_and_csv(alice: User) -> None:
    money("credit", "--user", "alice", "--usd", "5")
    charge([wallet_of(alice.pk)], USD, user_id=alice.pk, model="gpt-4o")
    out, file = StringIO(), StringIO()

    call_command("money", "statement", "--user", "alice", "--json", stdout=out)
    call_command("money", "statement", "--user", "alice", "--csv", stdout=file)

    told = json.loads(out.getvalue())
    assert (told["opening_nanodollars"], told["closing_nanodollars"]) == (0, 4 * USD)
    assert [(one["kind"], one["balance_nanodollars"]) for one in told["lines"]] == [("topup", 5 * USD), ("charge", 4 * USD)]
    assert [line.split(",")[1:4] for line in file.getvalue().splitlines()] == [
        ["kind", "usd", "balance_usd"], ["topup", "5.00", "5.00"], ["charge", "-1.00", "4.00"]
    ]  # fmt: skip


def test_a_tokens_statement_and_its_period(alice: User) -> None:
    issue_token(alice, "old", limit_nano=5 * USD)
    out = StringIO()

    call_command("money", "statement", "--user", "alice", "--token", "old", "--from", "2099-01-01", "--json", stdout=out)

    assert json.loads(out.getvalue()) == {"opening_nanodollars": 5 * USD, "closing_nanodollars": 5 * USD, "lines": []}
