"""No form of the admin writes money: rows of the ledger are for reading, people's forms have no such field (docs/security.md 16)."""

from typing import Any

import pytest
from django.urls import reverse

from billing import wallets
from billing.models import AuditRun, Balance, Checkpoint, ClosedMonth, Counter, Hold, Lease, LedgerEntry, LimitChange, Process, UsageRecord
from tests.console.rows import World, signed_in, superuser, world

pytestmark = pytest.mark.django_db
ROWS = (AuditRun, Balance, Checkpoint, ClosedMonth, Counter, Hold, Lease, LedgerEntry, LimitChange, Process, UsageRecord)


@pytest.fixture
def rows() -> World:
    return world()


def values() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in ROWS]


@pytest.mark.parametrize("name", [model._meta.model_name for model in ROWS])
def test_posting_to_a_row_of_the_ledger_is_refused(rows: World, name: str) -> None:
    before = values()
    client, pk = signed_in(superuser()), rows.change_pages()[f"billing.{name}"]
    posted = {"available": "1", "amount": "1", "remaining": "1", "limit": "1", "refunded": "1", "upstream_cost": "1", "subject": "1"}
    assert client.post(reverse(f"admin:billing_{name}_change", args=[pk]), posted).status_code == 403
    assert client.post(reverse(f"admin:billing_{name}_add"), posted).status_code == 403
    assert client.post(reverse(f"admin:billing_{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    assert values() == before


def test_saving_people_and_tokens_moves_no_money(rows: World) -> None:
    before = values()
    client, alice = signed_in(superuser()), rows.user
    extra = {"remaining_usd": "1000000", "used_usd": "0", "balance": "1", "available": "1", "wallet": "1", "quota": "1"}
    form = {"username": "alice", "group": alice.group_id, "is_active": "on", **extra}
    assert client.post(reverse("admin:accounts_user_change", args=[alice.pk]), form).status_code == 302
    form = {"name": "laptop", "enabled": "on", "allowed_models": "", "allowed_subnets": "", "group": "", "new_remaining": "", **extra}
    assert client.post(reverse("admin:gateway_token_change", args=[rows.token.pk]), form).status_code == 302
    assert values() == before


def test_credit_is_an_act_with_author_and_reason(rows: World) -> None:
    url = reverse("admin:accounts_user_credit", args=[rows.user.pk])
    client, before = signed_in(superuser()), wallets.balance_of(rows.user)
    form = {"amount": "1.5", "reason": "goodwill", "reference": "6f6c4c0e-5a53-4e3b-8d5d-0d8f2f9f0002"}
    for _twice in range(2):
        assert client.post(url, form).status_code == 302
    assert wallets.balance_of(rows.user) == before + 1_500_000_000
    entry = LedgerEntry.objects.latest("id")
    assert (entry.author.username if entry.author else "", entry.reason, entry.amount) == ("root", "goodwill", 1_500_000_000)


@pytest.mark.parametrize("amount", ["", "0", "x", "1000001", "-1000000", "0.0000000001", "1e5", "NaN"])
def test_an_amount_that_is_none_is_refused(rows: World, amount: str) -> None:
    before = wallets.balance_of(rows.user)
    url = reverse("admin:accounts_user_credit", args=[rows.user.pk])
    answer = signed_in(superuser()).post(url, {"amount": amount, "reference": "6f6c4c0e-5a53-4e3b-8d5d-0d8f2f9f0003"})
    assert answer.status_code == 200
    assert answer.context["form"].errors
    assert wallets.balance_of(rows.user) == before
