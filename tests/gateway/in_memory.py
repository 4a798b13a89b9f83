"""The relay on a snapshot in memory and the echo provider: no database, no network, and a ledger that admits everything."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from billing.ledger.leases import LeaseBook
from billing.ledger.records import uuid7
from billing.ledger.reserve import Charge
from gateway.asgi import RelayApp
from gateway.config import RelayConfig
from gateway.endpoints.billing_compat import Account
from gateway.keys import Caller
from gateway.relay import Relay
from gateway.snapshot import Snapshot, Snapshots
from outbound.client_aiohttp import AiohttpTransport
from outbound.guard import Guard
from tests.gateway.known import snapshot, token, upstream, user

ADMIN_KEY = "sk-" + "c3D4" * 12
MODEL = "gpt-4o"


class FreeLedger:
    """For tests that assert no money. `booked` holds what was booked."""

    def __init__(self) -> None:
        self.booked: list[Any] = []

    @asynccontextmanager
    async def reserve(self, balances: object, amount: int, floor: int, counted: object = None) -> AsyncIterator[Charge]:
        """As the ledger's."""
        yield Charge(uuid7(0), datetime.now(tz=UTC), LeaseBook("none", lambda _: None, lambda _: None, 0.0))

    def now(self) -> float:
        """As the ledger's."""
        return time.time()

    def book(self, charge: Charge, facts: object) -> "asyncio.Future[None]":
        """As the ledger's."""
        charge.open = False
        self.booked.append(facts)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


async def figures(caller: Caller) -> Account:
    """A limit of 12.50 dollars, of which 2.50 are used."""
    return Account(10_000_000_000, 2_500_000_000, unlimited=False, expires_at=0)


def echoing() -> Snapshot:
    """Alice with `known.KEY`, an administrator with ADMIN_KEY, one channel that serves MODEL to `default`."""
    users = (user(), user(id=2, username="root", staff=True))
    return snapshot(token(), token(ADMIN_KEY, id=2, user_id=2), users=users, upstreams=(upstream(1, MODEL, provider="echo"),))


def relay_app(state: Snapshot | None = None, **config: Any) -> RelayApp:
    """The relay's front door; `config` are fields of RelayConfig."""
    snapshots = Snapshots()
    snapshots.current = state or echoing()
    relay = Relay(RelayConfig(**config), snapshots, FreeLedger(), AiohttpTransport(Guard("channel")))
    return RelayApp(relay, figures)
