"""Rows for tests of the snapshot, threads that leave no connection behind, and a wait for what another process or thread has changed."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connection

from accounts.models import Group, User
from billing.models import ModelPrice
from channels_app.channels import add_channel
from channels_app.models import Channel
from gateway.models import Token
from gateway.tokens import issue_token

T = TypeVar("T")
PATIENCE = 10.0  # seconds until a change that does not come fails the test


def alice() -> User:
    return User.objects.filter(username="alice").first() or User.objects.create_user("alice")


def issue(name: str = "t", **changes: Any) -> tuple[Token, str]:
    """An unlimited token of alice, and its key."""
    return issue_token(alice(), name, **{"unlimited": True, **changes})


def channel(name: str = "one", **changes: Any) -> Channel:
    values = {"base_url": "https://api.example.com", "keys": ["sk-up-1", "sk-up-2"], "models": ["gpt-4o"], "groups": [default()], **changes}
    return add_channel("openai", name, **values)


def default() -> Group:
    return Group.objects.get_or_create(name="default")[0]


def price(model: str = "gpt-4o", **changes: Any) -> ModelPrice:
    return ModelPrice.objects.create(**{"model": model, "input": 10, "output": 20, **changes})


def run_sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


async def seen(condition: Callable[[], bool]) -> float:
    """Waits until a condition holds; gives back the seconds that it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < PATIENCE, "the change did not come"
        await asyncio.sleep(0.01)
    return time.monotonic() - start
