"""Charges that wait for their commit. What the database has not confirmed in time goes to the journal, and its answer may end (docs/ledger.md §4)."""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import structlog

from billing.ledger.errors import NotBooked
from billing.ledger.journal import Journal
from billing.ledger.records import Booking

PATIENCE = 2.0  # seconds for a COMMIT, then the charge is written to the journal
GIVEN_UP = 30.0  # seconds after which the end of an answer is not sent: neither the database nor the disk took its charge

log = structlog.get_logger("billing.ledger")


class _Waiting(NamedTuple):
    booking: Booking
    since: float


class Unconfirmed:
    """One a process, in its event loop's thread; the disk is written in a thread of its own, in order."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: dict[asyncio.Future[None], _Waiting] = {}  # oldest first
        self._on_disk: set[uuid.UUID] = set()  # written, or about to be
        self._disk = ThreadPoolExecutor(1, "ledger-journal")

    def add(self, booking: Booking, future: "asyncio.Future[None]") -> None:
        """A charge was queued; the future ends with its commit."""
        self._waiting[future] = _Waiting(booking, time.monotonic())
        future.add_done_callback(self._ended)

    def _ended(self, future: "asyncio.Future[None]") -> None:
        self._waiting.pop(future, None)
        if not future.cancelled() and (error := future.exception()) is not None:
            log.error("ledger.not_booked", error=str(error))

    def committed(self, booking: Booking) -> None:
        """The database has it."""
        if booking.id in self._on_disk:
            self._on_disk.discard(booking.id)
            self._disk.submit(self._settled, booking.id)

    def _settled(self, charge: uuid.UUID) -> None:
        try:
            self._journal.settled([charge])
        except OSError as error:
            log.error("ledger.journal_not_emptied", error=str(error))

    async def look(self, patience: float = PATIENCE) -> None:
        """Writes what has waited longer to the journal, and ends its wait; what the disk refuses waits on, up to GIVEN_UP seconds."""
        now = time.monotonic()
        overdue: list[tuple[asyncio.Future[None], Booking]] = []
        for future, waiting in self._waiting.items():
            if now - waiting.since < patience:
                break
            overdue.append((future, waiting.booking))
        fresh = [(future, booking) for future, booking in overdue if booking.id not in self._on_disk]
        if fresh:
            await self._write(fresh)
        for future, waiting in list(self._waiting.items()):
            if now - waiting.since < GIVEN_UP:
                break
            if not future.done():
                future.set_exception(NotBooked("neither the database nor the journal took the charge"))

    async def _write(self, fresh: "list[tuple[asyncio.Future[None], Booking]]") -> None:
        bookings = [booking for _, booking in fresh]
        self._on_disk.update(booking.id for booking in bookings)
        try:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._journal.append, bookings)
        except OSError as error:
            log.critical("ledger.journal_not_written", error=str(error), charges=len(bookings))
            self._on_disk.difference_update(booking.id for booking in bookings)
            return
        log.warning("ledger.journaled", charges=len(bookings))
        for future, _ in fresh:
            if not future.done():
                future.set_result(None)

    async def stop(self, within: float) -> None:
        """Waits for the database for a while, then for the disk: afterwards every charge is in one of both, or was refused by both."""
        if self._waiting:
            await asyncio.wait(list(self._waiting), timeout=max(0.0, min(within, PATIENCE)))
        await self.look(patience=0.0)

    def close(self) -> None:
        """Ends the thread; the writer has ended before."""
        self._disk.shutdown()
