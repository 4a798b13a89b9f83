"""How the admin looks: django-unfold's settings. https://unfoldadmin.com/docs/configuration/settings/

Imported by settings.py, so nothing here touches a model; links and texts are lazy, for they follow the request's prefix and language.
"""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy
from django.utils.translation import gettext_lazy as _

# A deep teal; 600 carries white text at a contrast above 5:1.
PRIMARY = {
    "50": "oklch(98.4% .014 180.72)",
    "100": "oklch(95.3% .051 180.801)",
    "200": "oklch(91% .096 180.426)",
    "300": "oklch(85.5% .138 181.071)",
    "400": "oklch(77.7% .152 181.912)",
    "500": "oklch(66% .125 183.5)",
    "600": "oklch(51.1% .096 186.391)",
    "700": "oklch(43.7% .078 188.216)",
    "800": "oklch(38.6% .063 188.416)",
    "900": "oklch(33% .055 190)",
    "950": "oklch(27.7% .046 192.524)",
}
BASE = {
    "50": "oklch(98.5% .002 230)",
    "100": "oklch(96.6% .004 230)",
    "200": "oklch(92.6% .006 230)",
    "300": "oklch(87% .01 230)",
    "400": "oklch(70.5% .016 230)",
    "500": "oklch(55% .02 230)",
    "600": "oklch(44.5% .022 230)",
    "700": "oklch(37% .024 230)",
    "800": "oklch(27.5% .022 230)",
    "900": "oklch(20.5% .02 230)",
    "950": "oklch(14% .018 230)",
}


def may(permission: str) -> Callable[[HttpRequest], bool]:
    """A sidebar item's condition: permission to look at its rows."""
    return lambda request: request.user.has_perm(permission)


def superuser(request: HttpRequest) -> bool:
    """A sidebar item's condition for rows that grant power."""
    return bool(request.user.is_active and request.user.is_superuser)


def item(title: Any, icon: str, model: str) -> dict[str, Any]:
    """The sidebar's link to the list of a model, named as in "billing.usagerecord"."""
    app, name = model.split(".")
    return {"title": title, "icon": icon, "link": reverse_lazy(f"admin:{app}_{name}_changelist"), "permission": may(f"{app}.view_{name}")}


def section(title: Any, *items: dict[str, Any], folded: bool = False) -> dict[str, Any]:
    """A titled part of the sidebar."""
    return {"title": title, "separator": True, "collapsible": folded, "items": list(items)}


def environment(request: HttpRequest) -> list[Any]:
    """The label at the top: which of the two modes this is."""
    if settings.DEBUG:
        return [_("debug"), "danger"]
    return [_("embedded"), "info"] if settings.EMBEDDED else [_("production"), "success"]


def page_title_prefix(request: HttpRequest) -> str:
    """Tells browser tabs of a debugging server apart."""
    return "[debug]" if settings.DEBUG else ""


NAVIGATION = [
    {
        "title": _("Overview"),
        "items": [
            {"title": _("Dashboard"), "icon": "monitoring", "link": reverse_lazy("admin:index")},
            {"title": _("My account"), "icon": "person", "link": reverse_lazy("portal:home"), "active": False},
        ],
    },
    section(_("Traffic"), item(_("Usage log"), "receipt_long", "billing.usagerecord")),
    section(
        _("Upstreams"),
        item(_("Channels"), "hub", "channels_app.channel"),
        item(_("Model prices"), "sell", "billing.modelprice"),
        item(_("Price rules"), "percent", "billing.pricerule"),
    ),
    section(
        _("People"),
        item(_("Users"), "group", "accounts.user"),
        item(_("Groups"), "workspaces", "accounts.group"),
        item(_("Tokens"), "key", "gateway.token"),
        {"title": _("Staff roles"), "icon": "badge", "link": reverse_lazy("admin:auth_group_changelist"), "permission": superuser},
    ),
    section(
        _("Money"),
        item(_("Redeem codes"), "redeem", "billing.redeemcode"),
        item(_("Ledger entries"), "list_alt", "billing.ledgerentry"),
        item(_("Balances"), "account_balance_wallet", "billing.balance"),
        item(_("Changes of limits"), "swap_horiz", "billing.limitchange"),
        item(_("Audits"), "verified", "billing.auditrun"),
    ),
    section(
        _("System"),
        item(_("Processes"), "memory", "billing.process"),
        item(_("Leases"), "timelapse", "billing.lease"),
        item(_("Holds"), "pan_tool", "billing.hold"),
        item(_("Counters"), "pin", "billing.counter"),
        item(_("Checkpoints"), "flag", "billing.checkpoint"),
        item(_("Closed months"), "inventory_2", "billing.closedmonth"),
        {
            "title": _("Schedules"),
            "icon": "schedule",
            "link": reverse_lazy("admin:django_celery_beat_periodictask_changelist"),
            "permission": superuser,
        },
        folded=True,
    ),
]

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "One API",
    "SITE_HEADER": "One API",
    "SITE_SUBHEADER": _("LLM gateway"),
    "SITE_SYMBOL": "graph_3",
    "SITE_URL": reverse_lazy("portal:home"),
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}],
    "SHOW_LANGUAGES": True,
    "SHOW_VIEW_ON_SITE": False,
    "SHOW_BACK_BUTTON": True,
    "ENVIRONMENT": "oneapi_site.console.environment",
    "ENVIRONMENT_TITLE_PREFIX": "oneapi_site.console.page_title_prefix",
    "DASHBOARD_CALLBACK": "oneapi_site.dashboard.with_figures",
    "STYLES": [lambda request: static("console.css")],
    "BORDER_RADIUS": "8px",
    "COLORS": {"primary": PRIMARY, "base": BASE},
    "ACCOUNT": {
        "navigation": [
            {"title": _("Change password"), "link": reverse_lazy("account_change_password")},
            {"title": _("Two-factor authentication"), "link": reverse_lazy("mfa_index")},
        ]
    },
    "SIDEBAR": {"show_search": False, "command_search": False, "navigation": NAVIGATION},
}
