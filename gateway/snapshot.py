"""What the data plane knows of tokens, users, groups, channels and prices: plain values in memory, replaced row by row as the database changes.

Only the event loop reads and changes it; a change costs what changed, not the size of the whole. `version` numbers the state. What is costly
(building it anew, the index of channels by model) can be done in a thread beforehand, so that the loop only stores the outcome.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from billing.periods import owner_of
from billing.price_rules import PriceBook, PriceRules, Rule
from billing.pricing import Price
from channels_app.provider import Upstream

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Place = tuple[str, str]  # (group's name, model)
Owner = tuple[str, int]  # of budgets: ("user" or "token", its id)
Row = TypeVar("Row")


class GroupRow(msgspec.Struct, frozen=True, gc=False):
    """A group and its price ratio."""

    id: int
    name: str
    ratio_ppm: int


class UserRow(msgspec.Struct, frozen=True, gc=False):
    """A user. `active` off means banned."""

    id: int
    username: str
    group_id: int
    unlimited: bool
    active: bool
    staff: bool


class TokenRow(msgspec.Struct, frozen=True, gc=False):
    """A token. `expires_at` is Unix time; no models means all of its group, no subnets means from anywhere.

    Unknown to the garbage collector, as are the rows above: they can be in no cycle, and a collection over 100,000 of them would stop the loop.
    """

    id: int
    user_id: int
    hash: str
    name: str
    enabled: bool
    expires_at: float | None
    unlimited: bool
    models: frozenset[str]
    subnets: tuple[Network, ...]
    group_id: int | None


class Difference(msgspec.Struct):
    """Rows read anew: {id: row}, None for one that is gone (or, of a channel, not to be used; `disabled` names those that still exist).

    `places` is the part of Snapshot.by_model that changes with `upstreams`, where Snapshot.places_after has found it in a thread.
    """

    version: int
    tokens: dict[int, TokenRow | None] = {}
    users: dict[int, UserRow | None] = {}
    groups: dict[int, GroupRow | None] = {}
    upstreams: dict[int, Upstream | None] = {}
    disabled: dict[int, bool] = {}
    prices: dict[int, tuple[str, Price] | None] = {}
    places: dict[Place, tuple[Upstream, ...]] | None = None
    rules: dict[int, Rule | None] = {}
    budgets: dict[int, tuple[str, int] | None] = {}


class Snapshot:
    """The state of one moment. `tokens` are found by the SHA-256 of their key; `budgets` are the kinds that a user or a token has."""

    def __init__(self) -> None:
        self.version = -1
        self.tokens: dict[str, TokenRow] = {}
        self.users: dict[int, UserRow] = {}
        self.groups: dict[int, GroupRow] = {}
        self.upstreams: dict[int, Upstream] = {}
        self.disabled: set[int] = set()
        self.prices: dict[str, Price] = {}
        self.rules = PriceRules()
        self.budgets: dict[Owner, tuple[str, ...]] = {}
        self.by_model: dict[Place, tuple[Upstream, ...]] = {}
        self._hash_of: dict[int, str] = {}
        self._model_of_price: dict[int, str] = {}
        self._budgets: dict[int, tuple[str, int]] = {}
        self._models: dict[str, tuple[str, ...]] = {}
        self._served: frozenset[str] | None = None

    def candidates(self, group: str, model: str) -> tuple[Upstream, ...]:
        """The channels that serve a model to a group, highest priority first."""
        return self.by_model.get((group, model), ())

    def models_of(self, group: str, allowed: frozenset[str]) -> list[str]:
        """The models that a group's channels serve, in alphabetical order, within `allowed` unless that is empty."""
        names = self._models.get(group)
        if names is None:
            names = tuple(sorted(model for served, model in self.by_model if served == group))
            if names:  # what is asked for a group without channels must not fill the memory
                self._models[group] = names
        return [name for name in names if name in allowed] if allowed else list(names)

    @property
    def book(self) -> PriceBook:
        """The price list and the rules beside it."""
        return PriceBook(self.prices, self.rules)

    def knows_model(self, model: str) -> bool:
        """Whether the model exists, though a caller's group may not be served now."""
        if self._served is None:
            self._served = frozenset(name for _, name in self.by_model)
        return model in self.prices or model in self._served

    def apply(self, difference: Difference) -> None:
        """Takes a difference in."""
        self._set_tokens(difference.tokens)
        _merge(self.users, difference.users)
        _merge(self.groups, difference.groups)
        self._set_prices(difference.prices)
        self.rules.change(difference.rules)
        self._set_budgets(difference.budgets)
        for identity, disabled in difference.disabled.items():
            (self.disabled.add if disabled else self.disabled.discard)(identity)
        if difference.upstreams:
            self._set_upstreams(difference)
        self.version = difference.version

    def places_after(self, upstreams: Mapping[int, Upstream | None]) -> dict[Place, tuple[Upstream, ...]]:
        """What by_model will hold where these channels were or will be: channels in order, () for nothing. Changes nothing itself."""
        added: dict[Place, list[Upstream]] = {}
        for identity, upstream in upstreams.items():
            known = self.upstreams.get(identity)
            for place in _places(known) if known is not None else ():
                added.setdefault(place, [])
            if upstream is not None:
                for place in _places(upstream):
                    added.setdefault(place, []).append(upstream)
        found = {}
        for place, new in added.items():
            staying = [other for other in self.by_model.get(place, ()) if other.id not in upstreams]
            found[place] = tuple(sorted(staying + new, key=_order)) if new else tuple(staying)
        return found

    def _set_tokens(self, changed: Mapping[int, TokenRow | None]) -> None:
        for identity in changed:  # all old ones go first: a hash may have moved from one row to another
            known = self._hash_of.pop(identity, None)
            if known is not None:
                self.tokens.pop(known, None)
        for identity, token in changed.items():
            if token is not None:
                self.tokens[token.hash] = token
                self._hash_of[identity] = token.hash

    def _set_prices(self, changed: Mapping[int, tuple[str, Price] | None]) -> None:
        for identity in changed:  # likewise
            known = self._model_of_price.pop(identity, None)
            if known is not None:
                self.prices.pop(known, None)
        for identity, priced in changed.items():
            if priced is not None:
                model, price = priced
                self.prices[model] = price
                self._model_of_price[identity] = model

    def _set_budgets(self, changed: Mapping[int, tuple[str, int] | None]) -> None:
        for identity in changed:  # likewise
            known = self._budgets.pop(identity, None)
            if known is not None:
                owner = (owner_of(known[0]), known[1])
                rest = tuple(kind for kind in self.budgets.pop(owner) if kind != known[0])
                if rest:
                    self.budgets[owner] = rest
        for identity, budget in changed.items():
            if budget is not None:
                kind, subject = self._budgets[identity] = budget
                owner = (owner_of(kind), subject)
                self.budgets[owner] = tuple(sorted((*self.budgets.get(owner, ()), kind)))

    def _set_upstreams(self, difference: Difference) -> None:
        places = difference.places if difference.places is not None else self.places_after(difference.upstreams)
        for place, upstreams in places.items():
            if upstreams:
                self.by_model[place] = upstreams
            else:
                self.by_model.pop(place, None)
        _merge(self.upstreams, difference.upstreams)
        self._models = {}
        self._served = None


def _merge(rows: dict[int, Row], changed: Mapping[int, Row | None]) -> None:
    for identity, row in changed.items():
        if row is None:
            rows.pop(identity, None)
        else:
            rows[identity] = row


def _places(upstream: Upstream) -> Iterable[Place]:
    return ((group, model) for group in upstream.groups for model in upstream.models)


def _order(upstream: Upstream) -> tuple[int, int]:
    return (-upstream.priority, upstream.id)


class Snapshots:
    """Holds the state in force; who waits for something takes `current` anew afterwards."""

    def __init__(self) -> None:
        self.current = Snapshot()
