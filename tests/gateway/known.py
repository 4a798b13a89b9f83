"""Snapshots made by hand: one user with one token in the group `default`, and whatever a test says besides."""

import hashlib
from typing import Any

from billing.pricing import Price
from channels_app.provider import Credential, Upstream
from gateway.snapshot import Difference, GroupRow, Snapshot, TokenRow, UserRow

KEY = "sk-" + "a1B2" * 12
PRICE = Price(input=150_000_000, output=600_000_000)
NOW = 1_800_000_000.0  # Unix time


def token(key: str = KEY, **changes: Any) -> TokenRow:
    values: dict[str, Any] = {
        "id": 1, "user_id": 1, "hash": hashlib.sha256(key.encode()).hexdigest(), "name": "t", "enabled": True, "expires_at": None,
        "unlimited": True, "models": frozenset(), "subnets": (), "group_id": None, **changes,
    }  # fmt: skip
    return TokenRow(**values)


def user(**changes: Any) -> UserRow:
    return UserRow(**{"id": 1, "username": "alice", "group_id": 1, "unlimited": False, "active": True, "staff": False, **changes})


def upstream(identity: int, *models: str, groups: tuple[str, ...] = ("default",), priority: int = 0, provider: str = "openai") -> Upstream:
    return Upstream(
        id=identity, name=f"channel {identity}", provider=provider, base_url="", models=frozenset(models), groups=frozenset(groups), mapping={},
        priority=priority, weight=1, keys=(Credential(identity, "sk-up"),),
    )  # fmt: skip


def snapshot(*tokens: TokenRow, users: tuple[UserRow, ...] = (), upstreams: tuple[Upstream, ...] = ()) -> Snapshot:
    made = Snapshot()
    made.apply(
        Difference(
            version=1,
            tokens={row.id: row for row in tokens or (token(),)},
            users={row.id: row for row in users or (user(),)},
            groups={1: GroupRow(1, "default", 1_000_000), 2: GroupRow(2, "vip", 500_000)},
            upstreams={row.id: row for row in upstreams},
            prices={1: ("gpt-4o", PRICE)},
        )
    )
    return made
