"""The data plane of one process: settings, transport, snapshot, ledger and relay put together, started and stopped in order."""

import gc
import ipaddress
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from billing.ledger.reserve import Ledger, LedgerConfig
from billing.money import parse_usd
from billing.pricing import Price
from gateway.asgi import RelayApp, handles
from gateway.config import RelayConfig
from gateway.figures import Figures
from gateway.relay import Relay
from gateway.snapshot import Snapshots
from gateway.watch import Watch
from oneapi_site.front import Receive, Scope, Send
from outbound.guard import Guard
from outbound.relay_transport import RelayTransport

log = structlog.get_logger(__name__)

YOUNG_OBJECTS = 10_000


def relay_config(settings: Any) -> RelayConfig:
    """The relay's share of settings.py."""
    unpriced = None
    if settings.ALLOW_UNPRICED:
        unpriced = Price(input=parse_usd(settings.DEFAULT_PRICE_INPUT), output=parse_usd(settings.DEFAULT_PRICE_OUTPUT))
    return RelayConfig(
        max_body_bytes=settings.MAX_BODY_BYTES,
        max_answer_bytes=settings.MAX_ANSWER_BYTES,
        max_in_flight=settings.MAX_IN_FLIGHT,
        max_bytes_in_flight=settings.MAX_BYTES_IN_FLIGHT,
        max_hops=settings.MAX_HOPS,
        max_attempts=settings.MAX_ATTEMPTS,
        retry_within=settings.RETRY_WITHIN,
        keepalive_after=settings.KEEPALIVE_AFTER,
        timeout_connect=settings.TIMEOUT_CONNECT,
        timeout_first_token=settings.TIMEOUT_FIRST_TOKEN,
        timeout_gap=settings.TIMEOUT_GAP,
        timeout_total=settings.TIMEOUT_TOTAL,
        client_gone=settings.CLIENT_GONE,
        default_max_output=settings.DEFAULT_MAX_OUTPUT,
        default_context=settings.DEFAULT_CONTEXT,
        unpriced=unpriced,
        disk_reserve_bytes=settings.DISK_RESERVE_BYTES,
        trusted_proxies=tuple(ipaddress.ip_network(network, strict=False) for network in settings.TRUSTED_PROXIES),
        shutdown_timeout=settings.SHUTDOWN_TIMEOUT,
        time_zone=ZoneInfo(settings.TIME_ZONE),
    )


def ledger_config(settings: Any) -> LedgerConfig:
    """The ledger's share of settings.py; it has a connection of its own beside Django's."""
    return LedgerConfig(
        database=str(settings.DATABASES["default"]["NAME"]) if settings.EMBEDDED else settings.DATABASE_URL,
        sqlite=settings.EMBEDDED,
        data_dir=settings.DATA_DIR,
        lease_idle=settings.LEASE_IDLE,
        database_silence=settings.DATABASE_SILENCE,
        disk_reserve=settings.DISK_RESERVE_BYTES,
    )


class DataPlane:
    """What oneapi_site/front.py mounts for the relay's paths."""

    def __init__(self, settings: Any, config: RelayConfig) -> None:
        self.snapshots = Snapshots()
        self.watch = Watch(self.snapshots)
        self.ledger = Ledger(ledger_config(settings))
        self.transport = RelayTransport(Guard("channel"))
        self.app = RelayApp(Relay(config, self.snapshots, self.ledger, self.transport), Figures())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    def handles(self, path: str) -> bool:
        """Whether a path (without the deployment's prefix) is the relay's."""
        return handles(path)

    async def start(self) -> None:
        """Loads the snapshot and takes a place in the ledger; raises what either raises where the database is away."""
        await self.watch.start()
        await self.ledger.start()
        # What is loaded by now stays: full collections need not walk 100,000 rows, which stops the loop for 84 to 224 ms.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, 20, 20)  # almost nothing is in a cycle: looking every 700 objects took 2.6 % of the CPU

    async def stop(self, within: float) -> None:
        """Commits what was served, gives leases back, closes connections; at most about `within` seconds."""
        try:
            await self.ledger.stop(within)
        finally:
            await self.transport.close()
            await self.watch.stop()
