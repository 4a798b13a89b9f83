"""Reads the price list and the rules beside it from the database, for the relay's snapshot and for the control plane's own sums."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet

from billing.models import ModelPrice, PriceRule
from billing.models.price import BUCKETS
from billing.price_rules import PriceBook, PriceRules, Rule
from billing.pricing import MILLION, Price, price_from

COLUMNS = ("id", "side", "model", "group__name", "channel_id", "starts_at", "ratio_ppm", *BUCKETS, "per_request", "per_tool_call", "tiers")


def rows_of(rules: "QuerySet[PriceRule]") -> "QuerySet[Any, dict[str, Any]]":
    """The rows that `rule_from` reads."""
    found: QuerySet[Any, dict[str, Any]] = rules.values(*COLUMNS)
    return found


def rule_from(values: Mapping[str, Any]) -> Rule:
    """A rule of its row's values. ValueError (msgspec.ValidationError) where its tiers have another shape."""
    price: Price | None = price_from(values) if values["ratio_ppm"] is None else None
    return Rule(
        id=values["id"],
        side=values["side"],
        model=values["model"],
        group=values["group__name"] or "",
        channel=values["channel_id"] or 0,
        starts_at=values["starts_at"].timestamp(),
        price=price,
        ratio_ppm=MILLION if values["ratio_ppm"] is None else values["ratio_ppm"],
    )


def book_of(*models: str) -> PriceBook:
    """The prices of these names, and all rules that may decide on them."""
    rules = PriceRules()
    found = rows_of(PriceRule.objects.filter(Q(model__in=models) | Q(model="")))
    rules.change({values["id"]: rule_from(values) for values in found})
    listed = {values["model"]: price_from(values) for values in ModelPrice.objects.filter(model__in=models).values()}
    return PriceBook(listed, rules)
