"""ORM code in tests that run in an event loop."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from django.db import connection

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Runs ORM code in a thread whose connection does not outlive it."""

    def run() -> T:
        try:
            return work(*arguments, **named)
        finally:
            connection.close()

    return await asyncio.to_thread(run)
