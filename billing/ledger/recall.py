"""Hears at once when another process needs money that this one holds (PostgreSQL: NOTIFY). What it misses, the next beat finds.

https://www.postgresql.org/docs/15/sql-notify.html
"""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import psycopg
import structlog

from billing.ledger.statements import RECALL_CHANNEL

LISTEN_AGAIN = 1.0  # seconds after a broken connection
LOOK = 0.1  # seconds between looks whether to stop

log = structlog.get_logger("billing.ledger")


class Listener(threading.Thread):
    """Calls `recalled` in the event loop with the id of each balance that is called back."""

    def __init__(self, dsn: str, loop: asyncio.AbstractEventLoop, recalled: Callable[[int], None]) -> None:
        super().__init__(name="ledger-recall", daemon=True)
        self._dsn = dsn
        self._loop = loop
        self._recalled = recalled
        self._stopping = False

    def stop(self) -> None:
        """Ends the thread within LOOK seconds."""
        self._stopping = True

    def run(self) -> None:
        while not self._stopping:
            try:
                self._listen()
            except psycopg.Error as error:
                log.warning("ledger.not_listening", error=str(error))
                time.sleep(LISTEN_AGAIN)

    def _listen(self) -> None:
        # A connection that a firewall has forgotten is noticed within half a minute; until then beats do the work.
        alive = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        with psycopg.connect(self._dsn, autocommit=True, connect_timeout=5, application_name="oneapi recall", **cast(Any, alive)) as connection:
            connection.execute(cast(Any, f"LISTEN {RECALL_CHANNEL}"))
            while not self._stopping:
                for notice in connection.notifies(timeout=LOOK):
                    if notice.payload.isdecimal():
                        self._loop.call_soon_threadsafe(self._recalled, int(notice.payload))
