"""Codes are minted by a form, exported one a line or as CSV, and never listed whole."""

import csv
import io
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from billing import redeem
from billing.models import RedeemCode
from tests.console.rows import DOLLAR, person, signed_in, staff, superuser

pytestmark = pytest.mark.django_db
ADD, LIST = "admin:billing_redeemcode_add", "admin:billing_redeemcode_changelist"


def export(user: User, name: str) -> Any:
    chosen = list(RedeemCode.objects.values_list("pk", flat=True))
    return signed_in(user).post(reverse(LIST), {"action": name, "_selected_action": chosen})


def test_a_batch_is_minted() -> None:
    form = {"count": "12", "amount": "2.5", "batch": "spring", "expires_at_0": "2090-01-01", "expires_at_1": "00:00"}
    answer = signed_in(superuser()).post(reverse(ADD), form, follow=True)
    assert "12 codes of $2.50 minted." in answer.content.decode()
    codes = RedeemCode.objects.all()
    assert [(code.amount, code.batch, code.created_by.username if code.created_by else "") for code in codes] == [
        (2_500_000_000, "spring", "root")
    ] * 12


@pytest.mark.parametrize(
    "changes",
    [
        {"count": "0"},
        {"count": "10001"},
        {"amount": "0"},
        {"amount": "-5"},
        {"amount": "1e3"},
        {"expires_at_0": "2001-01-01", "expires_at_1": "1:00"},
    ],
)
def test_what_is_wrong_mints_nothing(changes: dict[str, str]) -> None:
    answer = signed_in(superuser()).post(reverse(ADD), {"count": "1", "amount": "1", "batch": "x", **changes})
    assert answer.status_code == 200
    assert not RedeemCode.objects.exists()


def test_text_has_a_code_a_line_and_no_mark_before_it() -> None:
    codes = redeem.mint(3, DOLLAR)
    answer = export(staff(), "export_text")
    assert answer.content == "".join(f"{code}\n" for code in codes).encode()
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "no-store" in answer.headers["Cache-Control"]
    assert RedeemCode.objects.filter(exported_at__isnull=False).count() == 3


def test_csv_opens_in_excel_and_holds_no_formula() -> None:
    codes = redeem.mint(2, 5 * DOLLAR, batch="=cmd|' /C calc'!A0")
    content = export(staff(), "export_csv").content
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"))))
    assert rows[0] == ["code", "usd", "batch", "expires"]
    assert [row[0] for row in rows[1:]] == codes
    assert rows[1][1:3] == ["5.00", "'=cmd|' /C calc'!A0"]


def test_used_and_disabled_codes_are_left_out() -> None:
    used, _off, fresh = redeem.mint(3, DOLLAR)
    redeem.redeem(person("alice"), used)
    RedeemCode.objects.filter(hint=_off[-4:]).update(enabled=False)
    assert export(staff(), "export_text").content.decode().split() == [fresh]


def test_looking_is_not_exporting() -> None:
    """Codes are money: who may only look at the list gets no file."""
    code = redeem.mint(1, DOLLAR)[0]
    viewer = person("viewer", is_staff=True, permissions=("billing.view_redeemcode", "billing.change_redeemcode"))
    for name in ("export_text", "export_csv"):
        assert code not in export(viewer, name).content.decode()
    assert signed_in(viewer).post(reverse(ADD), {"count": "1", "amount": "1"}).status_code == 403


def test_disabled_codes_buy_nothing() -> None:
    code = redeem.mint(1, DOLLAR)[0]
    export(staff(), "disable")
    with pytest.raises(redeem.CodeDisabled):
        redeem.redeem(person("alice"), code)


def test_the_form_of_a_code_changes_no_money() -> None:
    redeem.mint(1, DOLLAR)
    row = RedeemCode.objects.get()
    posted = {"amount": "999999999", "redeemed_by": "", "enabled": "on", "code": "mine", "code_hash": "0" * 64, "expires_at": ""}
    signed_in(superuser()).post(reverse("admin:billing_redeemcode_change", args=[row.pk]), posted)
    after = RedeemCode.objects.get()
    assert (after.amount, after.code_hash, after.code) == (row.amount, row.code_hash, row.code)
