"""Spells a charge out for people: bucket × price = amount for each line, the ratio, the attempts. Reads `UsageRecord.detail`, writes nothing.

The log is shown for years: a detail of another shape (older, or booked without it) shows what it has and never fails a page.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from accounts.models import PPM
from billing.models import UsageRecord
from billing.pricing import MILLION


class ChargeLine(NamedTuple):
    """`units` of a bucket at `price` nano-dollars per `per` units make `amount` nano-dollars before the ratio (exact, so with decimals)."""

    bucket: str
    units: int
    price: int
    per: int
    amount: Decimal


class AttemptLine(NamedTuple):
    """One try on one channel; `channel_id` 0 where it is not known."""

    channel_id: int
    key: str
    status: int | None
    milliseconds: int | None
    error: str


class ChargeText(NamedTuple):
    """All that a page says about a charge; `subtotal` and amounts in nano-dollars, `rule` the id of the price rule, "" by the list."""

    lines: tuple[ChargeLine, ...]
    subtotal: Decimal
    ratio: Decimal
    rule: str
    attempts: tuple[AttemptLine, ...]
    error: str
    flags: tuple[str, ...]


def spell_out(record: UsageRecord) -> ChargeText:
    """The text of a record's detail."""
    detail: Mapping[str, Any] = record.detail if isinstance(record.detail, dict) else {}
    lines = tuple(line for raw in _list(detail, "lines") if (line := _line(raw)) is not None)
    attempts = tuple(_attempt(raw) for raw in _list(detail, "attempts") if isinstance(raw, Mapping))
    flags = detail.get("flags")
    return ChargeText(
        lines=lines,
        subtotal=sum((line.amount for line in lines), Decimal(0)),
        ratio=Decimal(_whole(detail.get("ratio_ppm", detail.get("ratio")), PPM)) / PPM,
        rule=_text(detail.get("price_source")).partition("rule ")[2],
        attempts=attempts,
        error=_text(detail.get("error")),
        flags=tuple(str(flag) for flag in flags) if isinstance(flags, list) else (),
    )


def _list(detail: Mapping[str, Any], name: str) -> list[Any]:
    found = detail.get(name)
    return found if isinstance(found, list) else []


def _whole(value: Any, default: int = 0) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("message", "")
    return str(value) if value else ""


def _line(raw: Any) -> ChargeLine | None:
    """A line as the relay writes it: an object, or the list of billing.pricing.Line."""
    if isinstance(raw, Mapping):
        raw = [raw.get("bucket"), raw.get("units"), raw.get("price"), raw.get("per", MILLION)]
    if not isinstance(raw, list) or len(raw) < 3:
        return None
    units, price, per = _whole(raw[1]), _whole(raw[2]), _whole(raw[3], MILLION) if len(raw) > 3 else MILLION
    return ChargeLine(str(raw[0]), units, price, per, Decimal(units * price) / (per or MILLION))


def _attempt(raw: Mapping[str, Any]) -> AttemptLine:
    key = raw.get("key", raw.get("key_id", ""))
    milliseconds = raw.get("ms", raw.get("duration_ms"))
    status = raw.get("status")
    return AttemptLine(
        channel_id=_whole(raw.get("channel", raw.get("channel_id"))),
        key=str(key) if key not in (None, "") else "",
        status=status if isinstance(status, int) else None,
        milliseconds=milliseconds if isinstance(milliseconds, int) else None,
        error=_text(raw.get("error", raw.get("message"))),
    )
