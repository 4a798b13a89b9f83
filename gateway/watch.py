"""Keeps the snapshot in step with the database: visible in every relay process within a second, whoever made the change and however.

Triggers number every change (gateway/triggers.py); a process is woken by NOTIFY on PostgreSQL and polls besides. While the database is away
the last snapshot serves (the ledger decides whether anything is admitted). https://www.postgresql.org/docs/15/sql-notify.html

All reading happens in one thread that keeps its connection; the event loop only stores what was read.
"""

import asyncio
import contextlib
import datetime
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import psycopg
import structlog
from django.db import Error as DatabaseTrouble
from django.db import connection
from django.utils import timezone

from gateway import snapshot_loader
from gateway.models import Change
from gateway.snapshot import Snapshot, Snapshots
from gateway.triggers import CHANNEL

POLL_EMBEDDED = 0.2  # seconds: one row is read
POLL_PRODUCTION = 0.5  # seconds: beside NOTIFY, for what it misses
BREATH = 0.05  # seconds between two readings however often it is woken: changes that come close together are read together
PRUNE_EVERY = 600.0
KEEP = datetime.timedelta(hours=1)
LISTEN_AGAIN = 1.0
CLOSE_WITHIN = 5.0  # seconds: the thread may be waiting for a database that is away
# A connection that a firewall has forgotten is noticed within half a minute; until then polling does the work.
LISTENING = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}

Read = TypeVar("Read")
log = structlog.get_logger(__name__)


class Watch:
    """One a process. `start` loads everything; a task follows the changes."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._thread = ThreadPoolExecutor(1, "snapshot")
        self._pruned_at = time.monotonic()
        self._trouble = ""
        self._postgres = connection.vendor == "postgresql"

    async def start(self) -> None:
        """Loads the snapshot. Raises django.db.Error where the database is away."""
        await self._replace()
        self._tasks.append(asyncio.create_task(self._follow(), name="snapshot-follow"))
        if self._postgres:
            self._tasks.append(asyncio.create_task(self._listen(), name="snapshot-listen"))

    async def stop(self) -> None:
        """Ends the tasks, and closes the connections."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._in_thread(_close), CLOSE_WITHIN)
        self._thread.shutdown(wait=False)

    async def refresh(self) -> None:
        """Takes in what has changed since. Raises django.db.Error."""
        try:
            await self._bring_up_to_date(self._snapshots.current)
            return
        except snapshot_loader.ReadAnew as error:
            log.warning("snapshot.reload", reason=str(error))
        await self._replace()

    async def _bring_up_to_date(self, current: Snapshot) -> None:
        difference = await self._in_thread(lambda: snapshot_loader.load_change(current))
        if difference is not None:
            current.apply(difference)

    async def _replace(self) -> None:
        fresh = await self._in_thread(snapshot_loader.load_snapshot)
        replaced = [self._snapshots.current]
        self._snapshots.current = fresh
        log.info("snapshot.loaded", version=fresh.version, tokens=len(fresh.tokens), channels=len(fresh.upstreams), prices=len(fresh.prices))
        await self._in_thread(replaced.clear)  # frees 100,000 rows there and not here, unless somebody still reads them

    async def _in_thread(self, work: Callable[[], Read]) -> Read:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _kept_whole, work)

    async def _follow(self) -> None:
        poll = POLL_PRODUCTION if self._postgres else POLL_EMBEDDED
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(poll):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.refresh()
                await self._prune()
            except DatabaseTrouble as error:
                self._report("snapshot.database_away", error)
            except Exception as error:  # noqa: BLE001  whatever a row holds must not end the feed
                self._report("snapshot.failed", error)
            else:
                self._trouble = ""
            await asyncio.sleep(BREATH)

    def _report(self, event: str, error: Exception) -> None:
        """Logs the beginning of a trouble, not each of its repetitions."""
        if self._trouble != event:
            log.error(event, error=str(error), exc_info=event == "snapshot.failed")
        self._trouble = event

    async def _listen(self) -> None:
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**_listening(), autocommit=True) as listening:
                    await listening.execute(f"LISTEN {CHANNEL}")
                    self._wake.set()
                    async for _ in listening.notifies():
                        self._wake.set()
            except (psycopg.Error, OSError) as error:
                log.warning("snapshot.not_listening", error=str(error))
            await asyncio.sleep(LISTEN_AGAIN)

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned_at > PRUNE_EVERY:
            self._pruned_at = time.monotonic()
            await self._in_thread(prune)


def prune() -> int:
    """Forgets changes that every living process has read long ago; gives back how many. The counter keeps the newest number."""
    return Change.objects.filter(at__lt=timezone.now() - KEEP).delete()[0]


def _close() -> None:
    connection.close()  # looked up in the thread that runs this: each has its own


def _kept_whole(work: Callable[[], Read]) -> Read:
    """Runs work in the thread, and closes a connection that failed so that the next work gets a new one."""
    try:
        return work()
    except DatabaseTrouble:
        connection.close()
        raise


def _listening() -> dict[str, Any]:
    """Where Django's own connection leads, without what only Django understands."""
    given: dict[str, Any] = connection.get_connection_params()
    return {**LISTENING, **{name: value for name, value in given.items() if name not in {"cursor_factory", "context", "prepare_threshold"}}}
