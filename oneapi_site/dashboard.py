"""The admin's front page: what was served and earned, which models sell, how the channels are."""

import json
from typing import Any

from django.core.cache import cache
from django.db.models import Prefetch, Sum
from django.http import HttpRequest
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from accounts.models import User
from billing import reports
from billing.display import usd_short
from billing.models import Balance, Kind, Lease
from billing.money import NANO
from channels_app.models import Channel, ChannelState

SPANS = (7, 14, 30)
FRESH = 20  # seconds for which the sums are kept: a page that is reloaded costs one look
MODELS_SHOWN = 8
CHANNELS_SHOWN = 12


def with_figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """unfold's DASHBOARD_CALLBACK: the context of templates/admin/index.html. Figures only for those who may read the usage log."""
    context["title"] = _("Dashboard")
    context["may_see_figures"] = request.user.has_perm("billing.view_usagerecord")
    context["may_see_channels"] = request.user.has_perm("channels_app.view_channel")
    span = request.GET.get("days", "")
    days = int(span) if span in {str(each) for each in SPANS} else SPANS[1]
    context["spans"] = [{"title": _("%d days") % each, "link": f"?days={each}", "active": each == days} for each in SPANS]
    if context["may_see_figures"]:
        context |= figures(days)
    if context["may_see_channels"]:
        context["channels"] = channels()
        context["channel_total"] = Channel.objects.filter(deleted_at__isnull=True).count()
    return context


def figures(days: int) -> dict[str, Any]:
    """Cards, chart and top models of so many days, today included."""
    key = f"dashboard:{days}:{get_language()}"
    found: dict[str, Any] | None = cache.get(key)
    if found is None:
        since = reports.day_start(days - 1)
        by_day = reports.per_day(since)
        found = {
            "cards": cards(by_day, days),
            "chart": chart(by_day),
            "models": models(reports.per_model(since, most=MODELS_SHOWN)),
            "nothing_yet": not any(row.sums.requests or row.sums.failed for row in by_day),
        }
        cache.set(key, found, FRESH)
    return found


def cards(by_day: list[reports.Row], days: int) -> list[dict[str, Any]]:
    """Today's figures beside yesterday's, and the span's margin."""
    today, yesterday = by_day[-1].sums, by_day[-2].sums
    amount, cost = sum(row.sums.amount - row.sums.refunded for row in by_day), sum(row.sums.upstream_cost for row in by_day)
    tried = today.requests + today.failed
    available = Balance.objects.filter(kind=Kind.WALLET).aggregate(total=Sum("available"))["total"] or 0
    leased = Lease.objects.filter(balance__kind=Kind.WALLET).aggregate(total=Sum("remaining"))["total"] or 0
    users = User.objects.filter(deleted_at__isnull=True).count()
    return [
        card(_("Revenue today"), usd_short(today.amount - today.refunded), "payments", today.amount, yesterday.amount),
        card(_("Requests today"), f"{today.requests:,}", "bolt", today.requests, yesterday.requests),
        {
            "title": _("Failed today"),
            "value": f"{100 * today.failed / tried:.1f} %" if tried else "–",
            "icon": "error",
            "note": _("%(failed)s of %(all)s requests") % {"failed": f"{today.failed:,}", "all": f"{tried:,}"},
            "bad": bool(tried) and today.failed / tried > 0.05,
        },
        {
            "title": _("Margin, %d days") % days,
            "value": usd_short(amount - cost),
            "icon": "trending_up",
            "note": _("%(revenue)s charged, %(cost)s upstream") % {"revenue": usd_short(amount), "cost": usd_short(cost)},
        },
        {
            "title": _("In users' wallets"),
            "value": usd_short(available + leased),
            "icon": "account_balance_wallet",
            "note": _("%d users") % users,
        },
    ]


def card(title: str, value: str, icon: str, now: int, before: int) -> dict[str, Any]:
    """A figure with its change since yesterday, where there is something to compare with."""
    if not before:
        return {"title": title, "value": value, "icon": icon, "note": _("nothing yesterday")}
    change = 100 * (now - before) / before
    return {"title": title, "value": value, "icon": icon, "note": _("%(change)+.0f %% against all of yesterday") % {"change": change}}


def chart(by_day: list[reports.Row]) -> dict[str, str]:
    """Requests as bars, revenue as a line on an axis of its own, in Chart.js's form: https://www.chartjs.org/docs/latest/charts/mixed.html"""
    labels = [row.key.strftime("%m-%d") for row in by_day]
    requests = {
        "label": _("Requests"),
        "data": [row.sums.requests for row in by_day],
        "backgroundColor": "var(--color-primary-600)",
        "borderRadius": 4,
        "maxBarThickness": 28,
        "order": 2,
    }
    failed = {**requests, "label": _("Failed"), "data": [row.sums.failed for row in by_day], "backgroundColor": "#e5484d"}
    revenue = {
        "label": _("Revenue (USD)"),
        "type": "line",
        "data": [round((row.sums.amount - row.sums.refunded) / NANO, 4) for row in by_day],
        "borderColor": "#e2a336",
        "backgroundColor": "#e2a336",
        "yAxisID": "money",
        "tension": 0.35,
        "pointRadius": 2,
        "borderWidth": 2,
        "order": 1,
    }
    ticks = {"color": "#8b98a5", "maxTicksLimit": 6}
    options = {
        "maintainAspectRatio": False,
        "animation": False,
        "interaction": {"mode": "index", "intersect": False},
        "plugins": {"legend": {"display": True, "align": "end", "labels": {"boxWidth": 10, "boxHeight": 10, "color": "#8b98a5"}}},
        "scales": {
            "x": {"stacked": True, "grid": {"display": False}, "ticks": {"color": "#8b98a5", "maxRotation": 0, "autoSkipPadding": 16}},
            "y": {"stacked": True, "beginAtZero": True, "suggestedMax": 5, "border": {"display": False}, "ticks": {**ticks, "precision": 0}},
            "money": {"position": "right", "beginAtZero": True, "border": {"display": False}, "grid": {"display": False}, "ticks": ticks},
        },
    }
    return {"data": json.dumps({"labels": labels, "datasets": [requests, failed, revenue]}), "options": json.dumps(options)}


def models(rows: list[reports.Row]) -> list[dict[str, Any]]:
    """The models that earned most, with their share of the first one's amount for a bar."""
    most = max((row.sums.amount for row in rows), default=0) or 1
    return [
        {
            "name": row.key or "–",
            "requests": f"{row.sums.requests:,}",
            "tokens": f"{row.sums.tokens:,}",
            "amount": usd_short(row.sums.amount),
            "share": max(1, round(100 * row.sums.amount / most)),
        }
        for row in rows
    ]


def channels() -> list[dict[str, Any]]:
    """The first channels in the order of routing, with what was observed of each."""
    own = Prefetch("states", ChannelState.objects.filter(key__isnull=True), to_attr="own_states")
    rows = Channel.objects.filter(deleted_at__isnull=True).prefetch_related(own)[:CHANNELS_SHOWN]
    shown = []
    for channel in rows:
        states: list[ChannelState] = getattr(channel, "own_states", [])
        state = states[0] if states else None
        automatic = state is not None and state.status == ChannelState.Status.DISABLED
        shown.append(
            {
                "pk": channel.pk,
                "name": channel.name,
                "provider": channel.provider,
                "tone": "danger" if automatic else "success" if channel.enabled else "idle",
                "text": _("disabled automatically") if automatic and channel.enabled else _("serving") if channel.enabled else _("disabled"),
                "note": (state.reason or state.test_error) if state else "",
                "response": f"{state.response_ms:,} ms" if state and state.response_ms is not None else "",
                "tested": state.tested_at if state else None,
            }
        )
    return shown
