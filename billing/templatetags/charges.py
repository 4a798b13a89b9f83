"""How templates write amounts and the names of usage buckets."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django import template
from django.utils.translation import gettext_lazy as _

from billing.display import usd as usd_text
from billing.display import usd_short as usd_short_text
from billing.money import NANO

register = template.Library()

BUCKET_NAMES = {
    "input": _("input"),
    "cached": _("cached input"),
    "cache_write_5m": _("cache write, 5 minutes"),
    "cache_write_1h": _("cache write, 1 hour"),
    "output": _("output"),
    "reasoning": _("reasoning"),
    "audio_in": _("audio in"),
    "audio_out": _("audio out"),
    "image_in": _("image in"),
    "image_out": _("image out"),
    "requests": _("per request"),
    "tool_calls": _("per tool call"),
}


@register.filter
def usd(nano: int | None) -> str:
    """Nano-dollars as exact dollars."""
    return usd_text(nano)


@register.filter
def usd_short(nano: int) -> str:
    """Nano-dollars as a figure at a glance."""
    return usd_short_text(nano)


@register.filter
def usd_exact(nano: Decimal) -> str:
    """Nano-dollars with decimals of their own, as before the rounding of a charge."""
    dollars = format(nano / NANO, "f")
    whole, _dot, fraction = dollars.partition(".")
    return f"${whole}.{fraction.rstrip('0').ljust(2, '0')}"


@register.filter
def grouped(number: int | None) -> str:
    """1234567 → "1,234,567"; a dash for nothing."""
    return "–" if number is None else f"{number:,}"


@register.filter
def plain(number: Decimal) -> str:
    """A factor without needless zeros: 1.0, 0.5, 1.25."""
    text = f"{number.normalize():f}"
    return text if "." in text else f"{text}.0"


@register.filter
def bucket_name(bucket: str) -> Any:
    """The name of a usage bucket in the reader's language."""
    return BUCKET_NAMES.get(bucket, bucket)


@register.filter
def named(names: Mapping[int, str], key: int) -> str:
    """The name that belongs to an id, else the id."""
    return names.get(key) or (f"#{key}" if key else "–")
