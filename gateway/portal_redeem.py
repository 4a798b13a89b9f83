"""Redeeming in the portal: one code or several, by form or by a script that asks for JSON."""

from typing import Any, NamedTuple

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_http_methods

from accounts.models import User
from billing import redeem, wallets
from billing.display import usd
from billing.money import format_usd
from gateway.portal import recent_entries, signed_in

CODES_AT_ONCE = 100
TEXT_LIMIT = 20_000  # characters


class Outcome(NamedTuple):
    """What became of one code; `amount` in nano-dollars, 0 where it was refused."""

    code: str
    amount: int
    error: str
    status: int


@login_required
@require_http_methods(["GET", "POST"])
def redeem_page(request: HttpRequest) -> HttpResponse:
    """GET: the form. POST with the field `code` (several, one a line): redeems, and answers with JSON where `Accept` prefers it.

    JSON: {"ok", "credited_usd", "balance_usd", "codes": [{"code": "…x1y2", "amount_usd" | "error"}], "error" of the first refusal}; the
    status is 200 where all were redeemed, 429 after too many guesses, else 400.
    """
    user = signed_in(request)
    if request.method != "POST":
        return render(request, "portal/redeem.html", {"entries": recent_entries(user), "balance": wallets.balance_of(user)})
    outcomes = redeem_all(user, request.POST.get("code", "")[:TEXT_LIMIT], request.META.get("REMOTE_ADDR", ""))
    if request.get_preferred_type(["text/html", "application/json"]) == "application/json":
        return as_json(user, outcomes)
    tell(request, outcomes)
    return redirect("portal:redeem")


def redeem_all(user: User, text: str, address: str) -> list[Outcome]:
    """Redeems the codes in a text; one that fails does not keep the others back, too many wrong guesses do."""
    codes = redeem.codes_in(text)[:CODES_AT_ONCE]
    if not codes:
        return [Outcome("", 0, _("Enter a code."), 400)]
    outcomes = []
    for code in codes:
        hint = f"…{code[-4:]}"
        try:
            outcomes.append(Outcome(hint, redeem.redeem(user, code, address=address).amount, "", 200))
        except redeem.TooManyGuesses as error:
            outcomes.append(Outcome(hint, 0, str(error), 429))
            break
        except redeem.RedeemError as error:
            outcomes.append(Outcome(hint, 0, str(error), 400))
    return outcomes


def as_json(user: User, outcomes: list[Outcome]) -> JsonResponse:
    """The answer for scripts."""
    codes: list[dict[str, Any]] = [
        {"code": each.code, "error": each.error} if each.error else {"code": each.code, "amount_usd": format_usd(each.amount)} for each in outcomes
    ]
    refused = [each for each in outcomes if each.error]
    body: dict[str, Any] = {
        "ok": not refused,
        "credited_usd": format_usd(sum(each.amount for each in outcomes)),
        "balance_usd": format_usd(wallets.balance_of(user)),
        "codes": codes,
    }
    if refused:
        body["error"] = refused[0].error
    status = max((each.status for each in outcomes), default=400)
    headers = {"Retry-After": str(redeem.WINDOW)} if status == 429 else {}
    return JsonResponse(body, status=status, headers=headers)


def tell(request: HttpRequest, outcomes: list[Outcome]) -> None:
    """The answer for people, as messages on the next page."""
    redeemed = [each for each in outcomes if not each.error]
    if redeemed:
        text = ngettext("%(count)d code redeemed: %(amount)s.", "%(count)d codes redeemed: %(amount)s.", len(redeemed))
        messages.success(request, text % {"count": len(redeemed), "amount": usd(sum(each.amount for each in redeemed))})
    for each in outcomes:
        if each.error:
            messages.error(request, f"{each.code} {each.error}".strip())
