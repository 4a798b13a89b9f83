"""The statements of a signed-in user: his wallet's and each of his tokens'. Another's id is a 404."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from billing.models import Balance, Kind
from billing.statement_view import csv_response, page_context
from gateway.models import Token
from gateway.portal import TOKENS_LIMIT, signed_in


@login_required
@require_GET
def wallet_statement(request: HttpRequest) -> HttpResponseBase:
    """What changed the balance, and what it was after each change."""
    return shown(request, Kind.WALLET, signed_in(request).pk, None)


@login_required
@require_GET
def token_statement(request: HttpRequest, token_id: int) -> HttpResponseBase:
    """The same of a token's limit."""
    token = get_object_or_404(Token, pk=token_id, user=signed_in(request), deleted_at__isnull=True)
    return shown(request, Kind.TOKEN, token.pk, token)


def shown(request: HttpRequest, kind: str, subject: int, token: Token | None) -> HttpResponseBase:
    """The page, or with `format=csv` the file."""
    balance = Balance.objects.filter(kind=kind, subject=subject, period="").first()
    if request.GET.get("format") == "csv":
        return csv_response(request, balance, inside=False)
    names = Token.objects.filter(user=signed_in(request)).order_by("name").values_list("pk", "name")[:TOKENS_LIMIT]
    context = {**page_context(balance, request.GET), "token": token, "tokens": names, "wallet": kind == Kind.WALLET}
    return render(request, "portal/statement.html", context)
