"""How pages write amounts and names: one place, so that a dollar looks the same on every page."""

import datetime
from typing import Any

from django.apps import apps
from django.db.models import CharField, OuterRef, Subquery
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from billing.money import NANO, format_usd


def usd(nano: int | None) -> str:
    """Exact: 1250000000 → "$1.25", 28000 → "$0.000028"; nothing for None."""
    if nano is None:
        return "–"
    return f"-${format_usd(-nano)}" if nano < 0 else f"${format_usd(nano)}"


def usd_short(nano: int) -> str:
    """For figures at a glance: two decimals from a dollar on, four below, with thousands' commas."""
    dollars, decimals = nano / NANO, 2 if abs(nano) >= NANO or nano == 0 else 4
    return f"{'-' if dollars < 0 else ''}${abs(dollars):,.{decimals}f}"


def usd_cell(nano: int | None) -> SafeString:
    """An amount for a column of figures: digits of one width, the exact figure as its title."""
    text = usd(nano)
    return format_html('<span class="figure{}" title="{}">{}</span>', " figure-negative" if (nano or 0) < 0 else "", text, text)


def moment(at: datetime.datetime | None, *, seconds: bool = False) -> SafeString:
    """A moment in TIME_ZONE for a column: sortable by eye and never broken over two lines."""
    if at is None:
        return SafeString("–")
    return format_html('<span class="figure">{}</span>', timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"))


def name_of(label: str, id_field: str, column: str = "name") -> Subquery:
    """The name of the row whose id stands in `id_field`, as an annotation. `label` such as "gateway.Token" names models above this app."""
    rows: Any = apps.get_model(label)._base_manager
    return Subquery(rows.filter(pk=OuterRef(id_field)).values(column)[:1], output_field=CharField())
