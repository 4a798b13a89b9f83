"""The one writer of a process: a thread with its own connection that turns requests finishing together into one transaction (docs/ledger.md §4).

A lone request commits at once; while others are in flight the writer gathers for GATHER seconds. After an unknown COMMIT only settling is
repeated (ids make it harmless); moves fail, and the memory is set anew from the lease rows. A process that was fenced starts over under a new
boot id: what it still has to settle is taken from the balances themselves.
"""

import asyncio
import datetime
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import structlog

from billing.ledger.errors import Closed, NotBooked
from billing.ledger.journal import Journal
from billing.ledger.reaper import Reaper, boot_time
from billing.ledger.records import Ask, Booking, GiveBack, Granted, HoldAsk, LastCents
from billing.ledger.store import BadRow, Conflict, ConnectionLost, Fenced, Store, TooOld

GATHER = 0.0025  # seconds
BATCH = 400  # bookings in one transaction; SQLite takes 32,766 parameters
BEAT = 1.0  # seconds between beats
QUEUE_LIMIT = 20_000

log = structlog.get_logger("billing.ledger")


class Handlers(msgspec.Struct):
    """What the writer calls in the event loop's thread when something was committed, or was not."""

    granted: Callable[[Granted], None]
    not_granted: Callable[[Ask, str], None]
    returned: Callable[[GiveBack], None]
    resync: Callable[[dict[int, int]], None]
    committed: Callable[[Booking], None]
    recalled: Callable[[int], None]
    started_over: Callable[[str], None]


class Host(msgspec.Struct):
    """Where this process lives: its name among hosts, its data folder, and the free space below which nothing is admitted (bytes)."""

    name: str
    data_dir: Path
    disk_reserve: int


class Writer(threading.Thread):
    """Queues are filled by the loop's thread and emptied by this one; answers go back through `call_soon_threadsafe`."""

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, handlers: Handlers, host: Host, journal: Journal, reaper: Reaper) -> None:
        super().__init__(name="ledger-writer", daemon=True)
        self._store = store
        self._loop = loop
        self._handlers = handlers
        self._host = host
        self._journal = journal
        self._reaper = reaper
        self._bookings: deque[tuple[Booking, asyncio.Future[None]]] = deque()
        self._asks: deque[Ask] = deque()
        self._backs: deque[GiveBack] = deque()
        self._cents: deque[tuple[LastCents, asyncio.Future[int]]] = deque()
        self._holds: deque[tuple[HoldAsk, asyncio.Future[None]]] = deque()
        self._wake = threading.Event()
        self._stopping = False
        self._resync_due = False
        self.open_charges = 0  # admitted and not yet settled: kept by the ledger, read here to see whether more is to come
        self.answered_beat = 0.0  # boot_time() at which the last answered transaction was begun
        self.offset = datetime.timedelta(0)  # the database's clock minus ours
        self.disk_full = False
        self.fenced = False
        self.batches = 0
        self.booked = 0

    # --- called in the loop's thread ---

    def book(self, booking: Booking) -> "asyncio.Future[None]":
        """Queues a charge; the future ends when it is committed, or with NotBooked."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._bookings.append((booking, future))
        if not self._wake.is_set():  # setting it again takes a lock that the writer may wait on
            self._wake.set()
        return future

    def acquire(self, ask: Ask) -> None:
        """Queues an acquire; `granted` or `not_granted` follows."""
        self._asks.append(ask)
        self._wake.set()

    def give_back(self, back: GiveBack) -> None:
        """Queues a give-back; `returned` follows."""
        self._backs.append(back)
        self._wake.set()

    def last_cents(self, ask: LastCents) -> "asyncio.Future[int]":
        """Queues a claim of all that is left; the future gives what was had, 0 for nothing."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._cents.append((ask, future))
        self._wake.set()
        return future

    def hold(self, ask: HoldAsk) -> "asyncio.Future[None]":
        """Queues a hold; the future ends when it is committed, or with Closed."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._holds.append((ask, future))
        self._wake.set()
        return future

    @property
    def full(self) -> bool:
        """The queue is at its bound: admit nothing more."""
        return len(self._bookings) > QUEUE_LIMIT

    def stop(self) -> None:
        """Asks the thread to end once its queues are empty."""
        self._stopping = True
        self._wake.set()

    # --- the thread ---

    def run(self) -> None:
        next_beat = time.monotonic() + BEAT
        while not (self._stopping and not self._queued()):
            self._wake.wait(max(0.0, next_beat - time.monotonic()))
            self._wake.clear()
            if self._bookings and self.open_charges and not self._asks and len(self._bookings) < BATCH:
                time.sleep(GATHER)
            self.work()
            if time.monotonic() >= next_beat:
                self.beat()
                next_beat = time.monotonic() + BEAT

    def _queued(self) -> bool:
        return bool(self._bookings or self._asks or self._backs or self._cents or self._holds)

    def work(self) -> None:
        """Empties the queues. Returns early, with bookings left, where the ledger stops while the database is away."""
        while self._queued():
            if self._bookings:
                self._settle([self._bookings.popleft() for _ in range(min(BATCH, len(self._bookings)))])
            if self._asks or self._backs or self._cents:
                self._move()
            while self._holds:
                self._hold(*self._holds.popleft())

    def _settle(self, batch: list[tuple[Booking, "asyncio.Future[None]"]]) -> None:
        while True:
            begun = boot_time()
            try:
                self._store.settle([booking for booking, _ in batch])
            except BadRow as error:
                self._isolate(batch, error)
                return
            except Conflict as error:
                log.warning("ledger.conflict", error=str(error))
                time.sleep(0.02)
            except ConnectionLost as error:
                if not self._reconnect(error):
                    self._post(_fail_all, [future for _, future in batch], NotBooked("the ledger stopped before the charge was committed"))
                    return
            else:
                break
        self.batches += 1
        self.booked += len(batch)
        self.answered_beat = begun
        self._post(self._committed, batch)
        self._resync()

    def _isolate(self, batch: list[tuple[Booking, "asyncio.Future[None]"]], error: BadRow) -> None:
        """Halves a refused batch until the bad row stands alone; that one is booked without its detail, or refused."""
        if len(batch) > 1:
            middle = len(batch) // 2
            self._settle(batch[:middle])
            self._settle(batch[middle:])
            return
        booking, future = batch[0]
        if booking.facts.detail != "{}" and not isinstance(error, TooOld):
            log.error("ledger.detail_refused", charge=str(booking.id), error=str(error))
            self._settle([(msgspec.structs.replace(booking, facts=msgspec.structs.replace(booking.facts, detail="{}")), future)])
            return
        log.critical("ledger.charge_refused", charge=str(booking.id), amount=booking.facts.amount, error=str(error))
        try:
            self._journal.set_aside(booking)
        except (OSError, OverflowError) as full:  # a number that no database takes may be too large for MessagePack as well
            log.critical("ledger.charge_not_set_aside", charge=str(booking.id), facts=str(booking.facts), error=str(full))
        self._post(_fail_all, [future], NotBooked(str(error)))

    def _move(self) -> None:
        asks = [self._asks.popleft() for _ in range(len(self._asks))]
        backs = [self._backs.popleft() for _ in range(len(self._backs))]
        cents = [self._cents.popleft() for _ in range(len(self._cents))]
        boot_id = self._store.boot_id  # what was asked under an earlier one has gone with its leases
        lost = [future for ask, future in cents if ask.boot_id != boot_id]
        asks = [ask for ask in asks if ask.boot_id == boot_id]
        backs = [back for back in backs if back.boot_id == boot_id]
        cents = [(ask, future) for ask, future in cents if ask.boot_id == boot_id]
        if lost:
            self._post(_fail_all, lost, Closed("the process starts over"))
        for attempt in range(5):
            begun = boot_time()
            try:
                granted, last = self._store.move(asks, backs, [ask for ask, _ in cents])
            except Conflict as error:
                log.warning("ledger.conflict", error=str(error), attempt=attempt)
                time.sleep(0.01 * (attempt + 1))
            except (ConnectionLost, BadRow, Fenced) as error:
                log.error("ledger.move_failed", error=str(error))
                self._not_moved(asks, backs, cents)
                self._recover(error)
                return
            else:
                self.answered_beat = begun
                self._post(self._moved, granted, backs, list(zip([future for _, future in cents], last, strict=True)))
                self._resync()
                return
        self._not_moved(asks, backs, cents)

    def _hold(self, ask: HoldAsk, future: "asyncio.Future[None]") -> None:
        try:
            if ask.boot_id != self._store.boot_id:
                raise Fenced(ask.boot_id)
            self._store.hold(ask)
        except (ConnectionLost, BadRow, Fenced, Conflict) as error:
            log.error("ledger.hold_failed", error=str(error))
            self._resync_due = True
            self._post(_fail_all, [future], Closed("the database did not take the hold"))
            self._recover(error)
        else:
            self._post(_succeed, future)

    def _recover(self, error: Exception) -> None:
        if isinstance(error, ConnectionLost):
            self._reconnect(error)
        elif isinstance(error, Fenced):
            self._start_over()

    def beat(self) -> None:
        """Shows that this process lives, measures the database's clock and the disk, answers recalls, and buries the dead."""
        self.disk_full = shutil.disk_usage(self._host.data_dir).free < self._host.disk_reserve
        begun, ours = boot_time(), datetime.datetime.now(tz=datetime.UTC)
        try:
            theirs = self._store.beat(self._journal.count, self._journal.amount)
            self.answered_beat = begun
            self.offset = theirs - ours - (datetime.datetime.now(tz=datetime.UTC) - ours) / 2
            for balance in self._store.recalled():
                self._post(self._handlers.recalled, balance)
            self._reaper.look()
        except (Conflict, BadRow) as error:
            log.warning("ledger.beat_failed", error=str(error))
        except (Fenced, ConnectionLost) as error:
            self._recover(error)
        self._resync()

    def _start_over(self) -> None:
        """Another process declared this one dead and took its leases: a new boot id, and nothing is admitted until the loop knows."""
        if not self.fenced:
            log.critical("ledger.fenced", boot_id=self._store.boot_id)
        self.fenced = True
        boot_id = secrets.token_hex(16)
        try:
            self._store.register(self._host.name, boot_id)
            self._journal.rename(boot_id)
        except (ConnectionLost, Conflict, BadRow, OSError) as error:
            log.error("ledger.not_started_over", error=str(error))  # the next beat tries again
            return
        self._post(self._handlers.started_over, boot_id)

    def _reconnect(self, error: ConnectionLost) -> bool:
        """Tries until the database answers again; False if the ledger is stopped meanwhile."""
        log.error("ledger.connection_lost", error=str(error))
        self._resync_due = True
        delay = 0.1
        while True:
            try:
                self._store.connect()
                self._store.new_session()
            except Fenced:
                self._start_over()
                return True  # what was served is still settled, from the balances themselves
            except (ConnectionLost, Conflict, BadRow) as again:
                if self._stopping:
                    return False
                log.warning("ledger.still_away", error=str(again))
                time.sleep(delay)
                delay = min(1.0, delay * 2)
            else:
                log.info("ledger.connected_again")
                return True

    def _resync(self) -> None:
        """After moves whose outcome is unknown, and after the settles that were repeated: the memory follows the lease rows."""
        if not self._resync_due or self.fenced:
            return
        try:
            leases = self._store.leases()
        except (ConnectionLost, BadRow, Conflict):
            return  # the next beat meets the same trouble and connects anew
        self._resync_due = False
        self._post(self._handlers.resync, leases)

    # --- answers, run in the loop's thread ---

    def _post(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:
            log.warning("ledger.loop_closed")

    def _committed(self, batch: list[tuple[Booking, "asyncio.Future[None]"]]) -> None:
        for booking, future in batch:
            self._handlers.committed(booking)
            if not future.done():
                future.set_result(None)

    def _moved(self, granted: list[Granted], backs: list[GiveBack], cents: list[tuple["asyncio.Future[int]", Granted]]) -> None:
        for back in backs:
            self._handlers.returned(back)
        for future, grant in cents:
            if not future.done():
                future.set_result(grant.amount)
        for grant in granted:
            self._handlers.granted(grant)

    def _not_moved(self, asks: list[Ask], backs: list[GiveBack], cents: list[tuple[LastCents, "asyncio.Future[int]"]]) -> None:
        """In the writer's thread: the memory will be set anew from the lease rows."""
        self._resync_due = True
        self._post(self._refuse, asks, backs, cents)

    def _refuse(self, asks: list[Ask], backs: list[GiveBack], cents: list[tuple[LastCents, "asyncio.Future[int]"]]) -> None:
        reason = "the database did not take the reserve"
        for back in backs:
            self._handlers.returned(back)
        for ask in asks:
            self._handlers.not_granted(ask, reason)
        _fail_all([future for _, future in cents], Closed(reason))


def _fail_all(futures: "list[asyncio.Future[None]] | list[asyncio.Future[int]]", error: Exception) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)


def _succeed(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
