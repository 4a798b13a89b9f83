"""Pages of a signed-in user: balance, own tokens, own requests, redeeming. Every row is looked up by its owner: another's id is a 404."""

import uuid
from typing import Any

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import get_script_prefix
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts.models import User
from billing import reports, wallets
from billing.budget_form import LABELS, explained
from billing.budgets import standings
from billing.charge_text import spell_out
from billing.figures import with_figures
from billing.models import Kind, LedgerEntry, UsageQuerySet, UsageRecord
from gateway import tokens as verbs
from gateway.forms import OwnTokenForm
from gateway.models import Token

TOKENS_LIMIT = 100  # of a user's own making, revoked ones included
PAGE = 50
LAST_PAGE = 2000


def signed_in(request: HttpRequest) -> User:
    """The user of a view behind login_required."""
    user = request.user
    if not isinstance(user, User):
        raise Http404
    return user


def own_tokens(user: User) -> QuerySet[Token]:
    """A user's tokens with what they have left and have used."""
    return with_figures(Token.objects.filter(user=user, deleted_at__isnull=True).select_related("group"), Kind.TOKEN).order_by("-id")


def own_records(user: User) -> UsageQuerySet:
    """A user's requests, newest first."""
    return UsageRecord.objects.filter(user_id=user.pk, type=UsageRecord.Type.REQUEST).order_by("-at")


def with_token_names(user: User, records: list[UsageRecord]) -> list[dict[str, Any]]:
    """Records beside the names of their tokens."""
    names = dict(Token.objects.filter(user=user, pk__in={record.token_id for record in records}).values_list("pk", "name"))
    return [{"record": record, "token": names.get(record.token_id, f"#{record.token_id}")} for record in records]


@login_required
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """What is left, what was used, and where to point a client."""
    user = signed_in(request)
    month = reports.totals(reports.day_start(29), user_id=user.pk)
    context = {
        "wallet": wallets.figures(Kind.WALLET, user.pk),
        "month": month,
        "today": reports.totals(reports.day_start(), user_id=user.pk),
        "budgets": [(LABELS[standing.period], standing, explained(standing)) for standing in standings("user", user.pk)],
        "tokens": own_tokens(user)[:5],
        "recent": with_token_names(user, list(own_records(user)[:8])),
        "endpoint": request.build_absolute_uri(get_script_prefix()) + "v1",
    }
    return render(request, "portal/home.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """The list; a post issues a token, and its answer shows the key."""
    user = signed_in(request)
    form = OwnTokenForm(user.pk, request.POST or None)
    issued: dict[str, Any] = {}
    if request.method == "POST" and form.is_valid():
        if Token.objects.filter(user=user, deleted_at__isnull=True).count() >= TOKENS_LIMIT:
            form.add_error(None, _("You have %(limit)d tokens: delete one first.") % {"limit": TOKENS_LIMIT})
        else:
            issued = issue(user, form.cleaned_data)
            form = OwnTokenForm(user.pk)
    context = {"tokens": own_tokens(user), "form": form, "open": form.is_bound, "reveal": settings.REVEAL_KEYS, **issued}
    return render(request, "portal/tokens.html", context)


def issue(user: User, wanted: dict[str, Any]) -> dict[str, Any]:
    """Issues a token in its owner's own group, whatever was posted, and returns what the page shows of it."""
    token, key = verbs.issue_token(
        user,
        wanted["name"],
        limit_nano=wanted["limit"],
        unlimited=wanted["limit"] is None,
        models=wanted["allowed_models"],
        subnets=wanted["allowed_subnets"],
        group=None,
        expires_at=wanted["expires_at"],
    )
    return {"issued": token, "key": key}


@login_required
@require_POST
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    """Switches a token off; one that is off already goes from the list, and its name is free again."""
    token = get_object_or_404(Token, pk=token_id, user=signed_in(request), deleted_at__isnull=True)
    if token.enabled:
        Token.objects.filter(pk=token.pk).update(enabled=False)
        messages.success(request, _("“%(name)s” is revoked: it opens nothing any more.") % {"name": token.name})
    else:
        Token.objects.filter(pk=token.pk).update(deleted_at=timezone.now(), key="")
        messages.success(request, _("“%(name)s” is deleted. Its requests stay in the log.") % {"name": token.name})
    return redirect("portal:tokens")


@login_required
@require_POST
def reveal(request: HttpRequest, token_id: int) -> HttpResponse:
    """Shows a key to its owner, after the password (or the second factor) again; every time is noted in the audit log."""
    user = signed_in(request)
    token = get_object_or_404(Token, pk=token_id, user=user, deleted_at__isnull=True)
    if not settings.REVEAL_KEYS or not token.key:
        raise Http404
    page: HttpResponse = shown(request, user, token)
    return page


@reauthentication_required
def shown(request: HttpRequest, user: User, token: Token) -> HttpResponse:
    """The page with the key; allauth asks first who is there, then repeats the request."""
    LogEntry.objects.log_actions(user.pk, [token], CHANGE, "the owner was shown the key", single_object=True)
    return render(request, "portal/reveal.html", {"token": token, "key": token.key})


@login_required
@require_GET
def usage(request: HttpRequest) -> HttpResponse:
    """Own requests, a page at a time without counting them."""
    user = signed_in(request)
    number = request.GET.get("page", "1")
    page = min(int(number), LAST_PAGE) if number.isascii() and number.isdigit() and len(number) < 6 and int(number) > 0 else 1
    records = own_records(user)
    chosen = request.GET.get("token", "")
    if chosen.isascii() and chosen.isdigit() and len(chosen) < 18:
        records = records.filter(token_id=int(chosen))
    model = request.GET.get("model", "").strip().replace("\x00", "")[:200]
    if model:
        records = records.filter(model=model)
    found = list(records[(page - 1) * PAGE : page * PAGE + 1])
    context = {
        "rows": with_token_names(user, found[:PAGE]),
        "page": page,
        "next": page + 1 if len(found) > PAGE else None,
        "previous": page - 1 if page > 1 else None,
        "tokens": Token.objects.filter(user=user).order_by("name").values_list("pk", "name")[:TOKENS_LIMIT],
        "chosen": chosen,
        "model": model,
        "sums": reports.per_model(reports.day_start(29), user_id=user.pk, most=6),
    }
    return render(request, "portal/usage.html", context)


@login_required
@require_GET
def usage_record(request: HttpRequest, record_id: uuid.UUID) -> HttpResponse:
    """One request with its charge spelled out; which channel served it, and what it cost there, is the operator's business."""
    user = signed_in(request)
    record = get_object_or_404(own_records(user).with_id(record_id))
    row = with_token_names(user, [record])[0]
    return render(request, "portal/usage_record.html", {**row, "charge": spell_out(record), "hide_upstream": True})


def recent_entries(user: User) -> QuerySet[LedgerEntry]:
    """What was put into a user's wallet lately."""
    return LedgerEntry.objects.filter(balance__kind=Kind.WALLET, balance__subject=user.pk).order_by("-id")[:10]
