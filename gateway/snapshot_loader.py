"""Reads the snapshot's rows from the database, all of them or those that changed. ORM, so it runs in a thread; never imported by the hot path.

The feed's version is read before the rows: what changes in between is read again with the next difference, and nothing is missed. A row that
cannot be read (raw SQL may write anything) is left out and logged: it opens nothing, and keeps no other row from being read.
"""

import ipaddress
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import structlog
from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast

from accounts.encryption import EncryptionError, decrypt
from accounts.models import Group, User
from billing.models import Budget, ModelPrice, PriceRule
from billing.price_list import rows_of, rule_from
from billing.price_rules import Rule
from billing.pricing import price_from
from channels_app.models import Channel, ChannelKey, ChannelState
from channels_app.provider import Credential, Upstream
from channels_app.registry import PROVIDERS
from gateway.models import Change, ChangeCounter, Token
from gateway.snapshot import Difference, GroupRow, Network, Snapshot, TokenRow, UserRow

log = structlog.get_logger(__name__)

MANY = 5_000  # changes at once from which on reading everything is cheaper, and taking them in would hold the event loop up
CHUNK = 2_000  # rows that a driver makes at once, while no other thread runs
TOKEN_COLUMNS = ("id", "user_id", "key_hash", "name", "enabled", "expires_at", "unlimited", "allowed_models", "allowed_subnets", "group_id")
CHANNEL_COLUMNS = ("id", "provider", "name", "base_url", "model_names", "mapping", "priority", "weight", "enabled", "system_prompt", "settings")
UNREADABLE = (EncryptionError, ValueError, TypeError, AttributeError)  # a secret of another key, or JSON of another shape
Ids = Iterable[int] | None


class ReadAnew(Exception):
    """A difference will not do: the feed no longer goes back so far, or too much has changed."""


def version() -> int:
    """The number of the last committed change."""
    return ChangeCounter.objects.values_list("version", flat=True).get(pk=1)


def load() -> Difference:
    """Everything."""
    number = version()
    rows = (_tokens(None), _users(None), _groups(None), *_upstreams(None), _prices(None))
    return Difference(number, *rows, rules=_rules(None), budgets=_budgets(None))


def load_snapshot() -> Snapshot:
    """Everything, as a new snapshot."""
    fresh = Snapshot()
    fresh.apply(load())
    return fresh


def load_since(number: int) -> Difference | None:
    """What changed after `number`: None where nothing did. Raises ReadAnew."""
    newest = version()
    if newest == number:
        return None
    if newest < number:
        raise ReadAnew("the change counter went back: another database, or a restored one")
    if newest - number > MANY:
        raise ReadAnew(f"{newest - number} changes at once")
    changes = list(Change.objects.filter(version__gt=number, version__lte=newest).values_list("table", "key"))
    if len(changes) < newest - number:
        raise ReadAnew("changes were pruned before they were read")
    keys: dict[str, set[int]] = defaultdict(set)
    for table, key in changes:
        keys[table].add(key)
    if keys["group"]:  # channels and price rules name groups by name
        keys["channel"].update(Channel.groups.through.objects.filter(group__in=keys["group"]).values_list("channel_id", flat=True))
        keys["price_rule"].update(PriceRule.objects.filter(group__in=keys["group"]).values_list("pk", flat=True))
    upstreams, disabled = _upstreams(keys["channel"]) if keys["channel"] else ({}, {})
    return Difference(
        newest,
        _tokens(keys["token"]) if keys["token"] else {},
        _users(keys["user"]) if keys["user"] else {},
        _groups(keys["group"]) if keys["group"] else {},
        upstreams,
        disabled,
        _prices(keys["price"]) if keys["price"] else {},
        rules=_rules(keys["price_rule"]) if keys["price_rule"] else {},
        budgets=_budgets(keys["budget"]) if keys["budget"] else {},
    )


def load_change(current: Snapshot) -> Difference | None:
    """What changed since a snapshot, with its index of channels by model worked out. As load_since."""
    difference = load_since(current.version)
    if difference is not None and difference.upstreams:
        difference.places = current.places_after(difference.upstreams)
    return difference


def _chosen(rows: QuerySet[Any, Any], ids: Ids, column: str = "pk") -> QuerySet[Any, Any]:
    return rows if ids is None else rows.filter(**{f"{column}__in": list(ids)})


def _with_missing(found: dict[int, Any], ids: Ids) -> dict[int, Any]:
    return found if ids is None else {identity: found.get(identity) for identity in ids}


def _tokens(ids: Ids) -> dict[int, TokenRow | None]:
    found = {}
    for row in _chosen(Token.objects.filter(deleted_at__isnull=True), ids).values_list(*TOKEN_COLUMNS).iterator(CHUNK):
        identity, user, digest, name, enabled, expires, unlimited, models, subnets, group = row
        until = expires.timestamp() if expires else None
        try:
            allowed, networks = _names(_strings(models)), _networks(_strings(subnets))
        except UNREADABLE as error:
            log.error("token.unreadable", token=identity, error=str(error))
            continue
        found[identity] = TokenRow(identity, user, digest, name, enabled, until, unlimited, allowed, networks, group)
    return _with_missing(found, ids)


def _strings(value: object) -> tuple[str, ...]:
    """A JSON list of strings; a restriction that is none must not read as no restriction."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{value!r:.80} is no list of strings")
    return tuple(value)


@lru_cache(maxsize=4096)  # many tokens have the same few lists: one object for all
def _names(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(names)


@lru_cache(maxsize=4096)
def _networks(subnets: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(subnet, strict=False) for subnet in subnets)


def _users(ids: Ids) -> dict[int, UserRow | None]:
    rows = _chosen(User.objects.all(), ids).values_list("id", "username", "group_id", "unlimited", "is_active", "is_staff", "deleted_at")
    found = {}
    for identity, username, group, unlimited, active, staff, deleted in rows.iterator(CHUNK):
        found[identity] = UserRow(identity, username, group, unlimited, active and deleted is None, staff)
    return _with_missing(found, ids)


def _groups(ids: Ids) -> dict[int, GroupRow | None]:
    found = {row[0]: GroupRow(*row) for row in _chosen(Group.objects.all(), ids).values_list("id", "name", "ratio_ppm")}
    return _with_missing(found, ids)


def _prices(ids: Ids) -> dict[int, Any]:
    found = {}
    for values in _chosen(ModelPrice.objects.all(), ids).values():
        try:
            found[values["id"]] = (values["model"], price_from(values))
        except UNREADABLE as error:  # tiers that no form would have let through
            log.error("price.unreadable", model=values["model"], error=str(error))
    return _with_missing(found, ids)


def _rules(ids: Ids) -> dict[int, Rule | None]:
    found = {}
    for values in rows_of(_chosen(PriceRule.objects.all(), ids)):
        try:
            found[values["id"]] = rule_from(values)
        except UNREADABLE as error:
            log.error("price_rule.unreadable", rule=values["id"], error=str(error))
    return _with_missing(found, ids)


def _budgets(ids: Ids) -> dict[int, tuple[str, int] | None]:
    found = {identity: (kind, subject) for identity, kind, subject in _chosen(Budget.objects.all(), ids).values_list("id", "kind", "subject")}
    return _with_missing(found, ids)


def _upstreams(ids: Ids) -> tuple[dict[int, Upstream | None], dict[int, bool]]:
    """The channels, each with its groups, keys and states: four queries, however many channels."""
    rows = _chosen(Channel.objects.filter(deleted_at__isnull=True), ids).values(
        *CHANNEL_COLUMNS, proxy_cipher=Cast("proxy", TextField()), headers_cipher=Cast("extra_headers", TextField())
    )
    dead = _by_channel(ChannelState.objects.filter(status=ChannelState.Status.DISABLED).values_list("channel_id", "key_id"), ids)
    groups = _by_channel(Channel.groups.through.objects.values_list("channel_id", "group__name"), ids)
    enabled = ChannelKey.objects.filter(enabled=True).order_by("id")
    keys = _by_channel(enabled.values_list("channel_id", "id", Cast("secret", TextField())), ids)
    found: dict[int, Upstream | None] = {}
    for values in rows:
        identity = values["id"]
        try:
            unusable = {key for (key,) in dead[identity]}
            usable = [pair for pair in keys[identity] if pair[0] not in unusable]
            found[identity] = None if None in unusable else _upstream(values, [name for (name,) in groups[identity]], usable)
        except UNREADABLE as error:
            log.error("channel.unreadable", channel=identity, error=str(error))
            found[identity] = None
    wanted = found.keys() if ids is None else list(ids)
    disabled = {identity: identity in found and found[identity] is None for identity in wanted}
    return {identity: found.get(identity) for identity in wanted}, disabled


def _by_channel(rows: QuerySet[Any, Any], ids: Ids) -> dict[int, list[tuple[Any, ...]]]:
    """Rows whose first column is the channel, without it, by channel."""
    found: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for channel, *rest in _chosen(rows, ids, "channel_id"):
        found[channel].append(tuple(rest))
    return found


def _upstream(values: Mapping[str, Any], groups: list[str], keys: list[tuple[Any, ...]]) -> Upstream | None:
    """The channel as the relay uses it; None where it is disabled or has no usable key. `keys` are (id, ciphertext)."""
    provider = PROVIDERS.get(values["provider"])
    if not values["enabled"] or provider is None:
        return None
    credentials = _credentials(keys)
    if not credentials and provider.needs_key:
        return None
    return Upstream(
        id=values["id"],
        name=values["name"],
        provider=values["provider"],
        base_url=values["base_url"],
        models=frozenset(_strings(values["model_names"])),
        groups=frozenset(groups),
        mapping={str(asked): str(there) for asked, there in values["mapping"].items()},
        priority=values["priority"],
        weight=values["weight"],
        keys=credentials or (Credential(0, ""),),
        system_prompt=values["system_prompt"],
        settings=dict(values["settings"]),
        proxy=decrypt(values["proxy_cipher"]) or None,
        extra_headers=_headers(decrypt(values["headers_cipher"])),
    )


def _credentials(keys: list[tuple[Any, ...]]) -> tuple[Credential, ...]:
    """The keys that open; one that does not leaves the others to serve."""
    found = []
    for identity, cipher in keys:
        try:
            found.append(Credential(identity, decrypt(cipher)))
        except UNREADABLE as error:
            log.error("channel_key.unreadable", key=identity, error=str(error))
    return tuple(found)


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    """The extra headers, kept as a JSON object."""
    return tuple((str(name), str(value)) for name, value in json.loads(text).items()) if text else ()
