"""Acts on money by form: with author and reason, once a reference, within rank, and never by a stale or foreign form."""

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from billing import wallets
from billing.audit import audit
from billing.models import AuditRun, Kind, LedgerEntry, LimitChange
from billing.tasks import requested_audit
from gateway import tokens
from tests.billing.rows import charge
from tests.console.rows import DOLLAR, person, signed_in, staff, superuser

pytestmark = pytest.mark.django_db
WHY = {"reason": "as agreed", "reference": "ref-1"}


@pytest.fixture
def alice() -> User:
    user = person("alice")
    wallets.credit(user, 10 * DOLLAR)
    return user


@pytest.fixture
def clerk() -> Client:
    return signed_in(staff())


def test_a_debit_sent_twice_takes_the_money_once(clerk: Client, alice: User) -> None:
    url = reverse("admin:accounts_user_debit", args=[alice.pk])
    reference = clerk.get(url).context["form"]["reference"].value()

    answers = [clerk.post(url, {"amount": "4", "reason": "too much", "reference": reference}, follow=True) for _twice in range(2)]

    assert wallets.balance_of(alice) == 6 * DOLLAR
    assert "nothing was moved again" in answers[1].content.decode()
    entry = LedgerEntry.objects.latest("pk")
    assert (entry.act, entry.reason, entry.idempotency_key, entry.author and entry.author.username) == (
        "adjustment", "too much", reference, "clerk"
    )  # fmt: skip


def test_more_than_there_is_cannot_be_debited(clerk: Client, alice: User) -> None:
    answer = clerk.post(reverse("admin:accounts_user_debit", args=[alice.pk]), {"amount": "10.01", **WHY})
    assert "holds less than" in answer.content.decode()
    assert wallets.balance_of(alice) == 10 * DOLLAR


@pytest.mark.parametrize("missing", [{"reason": ""}, {"reference": ""}, {"amount": ""}, {"amount": "-1"}, {"reference": "redeem:1"}])
def test_what_is_not_explained_is_not_done(clerk: Client, alice: User, missing: dict[str, str]) -> None:
    answer = clerk.post(reverse("admin:accounts_user_credit", args=[alice.pk]), {"amount": "1", **WHY, **missing})
    assert answer.status_code == 200
    assert wallets.balance_of(alice) == 10 * DOLLAR


def test_a_write_off_brings_a_wallet_to_zero(clerk: Client, alice: User) -> None:
    charge([wallets.wallet_of(alice.pk)], 12 * DOLLAR, user_id=alice.pk)
    for _twice in range(2):
        assert clerk.post(reverse("admin:accounts_user_write_off", args=[alice.pk]), WHY).status_code == 302
    assert wallets.balance_of(alice) == 0
    assert audit().ok


def test_a_refund_begins_with_what_is_left(clerk: Client, alice: User) -> None:
    record = charge([wallets.wallet_of(alice.pk)], 4 * DOLLAR, user_id=alice.pk)
    url = reverse("admin:billing_usagerecord_refund", args=[record.pk])
    clerk.post(url, {"amount": "1", **WHY})

    page = clerk.get(url)
    assert page.context["form"]["amount"].value() == "3.00"
    assert "$4.00" in page.content.decode()

    assert "left to give back" in clerk.post(url, {"amount": "3.01", "reason": "x", "reference": "ref-2"}).content.decode()
    assert clerk.post(url, {"amount": "3", "reason": "x", "reference": "ref-2"}).status_code == 302
    assert wallets.balance_of(alice) == 10 * DOLLAR
    assert audit().ok


def test_a_limit_goes_to_another_token_of_the_same_user_only(clerk: Client, alice: User) -> None:
    (old, _key), (new, _other) = (tokens.issue_token(alice, name, limit_nano=5 * DOLLAR) for name in ("old", "new"))
    foreign, _third = tokens.issue_token(person("bob"), "bobs", limit_nano=DOLLAR)
    url = reverse("admin:gateway_token_transfer", args=[old.pk])

    for target in (old, foreign):
        assert clerk.post(url, {"target": target.pk, "amount": "2", **WHY}).context["form"].errors["target"]
    for _twice in range(2):
        assert clerk.post(url, {"target": new.pk, "amount": "2", **WHY}).status_code == 302

    assert [wallets.figures(Kind.TOKEN, one.pk).remaining for one in (old, new, foreign)] == [3 * DOLLAR, 7 * DOLLAR, DOLLAR]
    assert LimitChange.objects.get().reason == "as agreed"


def test_nobody_acts_on_his_own_rank_or_above(clerk: Client) -> None:
    root = superuser()
    wallets.credit(root, DOLLAR)
    record = charge([wallets.wallet_of(root.pk)], DOLLAR, user_id=root.pk)
    token, _key = tokens.issue_token(root, "root's", limit_nano=DOLLAR)
    for name, pk in (("accounts_user_debit", root.pk), ("accounts_user_write_off", root.pk), ("billing_usagerecord_refund", record.pk),
                     ("gateway_token_transfer", token.pk)):  # fmt: skip
        assert clerk.post(reverse(f"admin:{name}", args=[pk]), {"amount": "1", **WHY}).status_code == 403, name
    assert LedgerEntry.objects.count() == 1


def test_a_post_without_the_forms_token_is_refused(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser(), backend="django.contrib.auth.backends.ModelBackend")
    for name in ("credit", "debit", "write_off"):
        assert client.post(reverse(f"admin:accounts_user_{name}", args=[alice.pk]), {"amount": "1", **WHY}).status_code == 403
    assert client.post(reverse("admin:billing_auditrun_run_now")).status_code == 403
    assert wallets.balance_of(alice) == 10 * DOLLAR


def test_an_audit_is_asked_for_and_run_once(clerk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[int] = []
    monkeypatch.setattr(requested_audit, "delay", queued.append)
    assert clerk.get(reverse("admin:billing_auditrun_run_now")).status_code == 200
    assert queued == []

    assert clerk.post(reverse("admin:billing_auditrun_run_now")).status_code == 302

    for _delivered_twice in range(2):
        requested_audit(queued[0])
    run = AuditRun.objects.get()
    assert (queued, run.ok, run.requested_by and run.requested_by.username) == ([run.pk], True, "clerk")
