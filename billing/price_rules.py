"""Which price holds: that of the list, or a rule's beside it, for a group, a channel, or from a day on. Pure.

Of the rules that fit a request and have begun, one decides: a rule for the caller's group before one for all groups, then one for the channel
before one for all channels, then one that names the model, then the one that began last. A rule has prices of its own, or a ratio to the list's.
What a rule says for a group is what the group pays: the group's own ratio is not applied to it.

Two sides are kept apart: the charge (what the caller pays; by the model's name as asked for, else by the mapped one) and the cost (what the
upstream asks of us; by the mapped name).
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from billing.pricing import MILLION, Price, Tier

CHARGE = "charge"
COST = "cost"


class Rule(msgspec.Struct, frozen=True):
    """One row. Empty `model` and `group`, `channel` 0: all of them. `starts_at` is Unix time. Without a `price`, `ratio_ppm` of the list's."""

    id: int
    side: str
    model: str = ""
    group: str = ""
    channel: int = 0
    starts_at: float = 0.0
    price: Price | None = None
    ratio_ppm: int = MILLION

    @property
    def rank(self) -> tuple[bool, bool, bool, float, int]:
        """The rule of the highest rank decides."""
        return (bool(self.group), bool(self.channel), bool(self.model), self.starts_at, self.id)


class Priced(NamedTuple):
    """A price in force. `final`: no group's ratio comes on top of it."""

    price: Price
    final: bool = False


class Terms(NamedTuple):
    """What a request costs on one channel: the caller by `price` and `ratio_ppm`, us by `cost`, the upstream's own."""

    price: Price
    ratio_ppm: int
    cost: Price


class PriceRules:
    """All rules, found by side and model."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._by_model: dict[tuple[str, str], list[Rule]] = {}

    def __len__(self) -> int:
        return len(self._rules)

    def change(self, changed: Mapping[int, Rule | None]) -> None:
        """Takes rows in, by id; None for one that is gone."""
        for identity, rule in changed.items():
            known = self._rules.pop(identity, None)
            if known is not None:
                self._by_model[known.side, known.model].remove(known)
            if rule is not None:
                self._rules[identity] = rule
                self._by_model.setdefault((rule.side, rule.model), []).append(rule)

    def find(self, side: str, model: str, group: str, channel: int, now: float) -> Rule | None:
        """The rule that decides at that moment."""
        fitting = [
            rule
            for name in (model, "")
            for rule in self._by_model.get((side, name), ())
            if rule.group in ("", group) and rule.channel in (0, channel) and rule.starts_at <= now
        ]
        return max(fitting, key=lambda rule: rule.rank, default=None)

    def next_start(self, now: float) -> float:
        """When the next rule begins; infinity where none is to come."""
        return min((rule.starts_at for rule in self._rules.values() if rule.starts_at > now), default=math.inf)


class PriceBook(NamedTuple):
    """The list, {model: price}, and the rules beside it."""

    listed: Mapping[str, Price]
    rules: PriceRules

    def charged(self, asked: str, mapped: str, group: str, channel: int, now: float) -> Priced | None:
        """What a caller of that group pays on that channel; None where neither name has a price."""
        return self._of(CHARGE, asked, group, channel, now) or self._of(CHARGE, mapped, group, channel, now)

    def cost(self, mapped: str, channel: int, now: float) -> Price | None:
        """What that channel's upstream asks; None where the name has no price."""
        priced = self._of(COST, mapped, "", channel, now)
        return priced.price if priced else None

    def terms(self, asked: str, mapped: str, group: str, ratio_ppm: int, channel: int, now: float, unpriced: Price | None = None) -> Terms | None:
        """All of it for a group with that ratio; `unpriced` is the price of a model that has none. None where it is None too."""
        priced = self.charged(asked, mapped, group, channel, now)
        price = priced.price if priced is not None else unpriced
        if price is None:
            return None
        return Terms(price, MILLION if priced is not None and priced.final else ratio_ppm, self.cost(mapped, channel, now) or price)

    def _of(self, side: str, model: str, group: str, channel: int, now: float) -> Priced | None:
        listed = self.listed.get(model)
        rule = self.rules.find(side, model, group, channel, now)
        if rule is not None and rule.price is not None:
            limits = (listed.context_limit, listed.output_limit) if listed is not None else (None, None)
            price = msgspec.structs.replace(rule.price, context_limit=limits[0], output_limit=limits[1], source=named(rule))
            return Priced(price, bool(rule.group))
        if listed is None:
            return None
        return Priced(listed) if rule is None else Priced(scaled(listed, rule.ratio_ppm, named(rule)), bool(rule.group))


def named(rule: Rule) -> str:
    """The rule as the usage log names it."""
    return f"rule {rule.id}"


def scaled(price: Price, ratio_ppm: int, source: str) -> Price:
    """A price times parts per million, each bucket rounded up to whole nano-dollars per million units."""
    plain = {name: _times(getattr(price, name), ratio_ppm) for name in PRICED}
    tiers = tuple(
        msgspec.structs.replace(tier, **{name: _times(getattr(tier, name), ratio_ppm) for name in Tier.__struct_fields__ if name != "above"})
        for tier in price.tiers
    )
    return msgspec.structs.replace(price, **plain, tiers=tiers, source=source)


PRICED = tuple(name for name in Price.__struct_fields__ if name not in {"tiers", "context_limit", "output_limit", "source"})


def _times(amount: int | None, ratio_ppm: int) -> int | None:
    return None if amount is None else -(-amount * ratio_ppm // MILLION)
