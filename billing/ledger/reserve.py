"""The ledger as the relay sees it: reserve before, settle after, release what was not used. One a process, living in its event loop.

Reserves come from the process's own leases, in memory; charges go through the writer. `docs/ledger.md` §3 and §4 give the rules.
"""

import asyncio
import datetime
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import structlog

from billing.ledger.errors import Closed, NotBooked, NotEnough
from billing.ledger.journal import Journal
from billing.ledger.leases import LeaseBook, Slice
from billing.ledger.postgres import PostgresStore
from billing.ledger.processes import Slot, host_of
from billing.ledger.reaper import Reaper, boot_time
from billing.ledger.recall import Listener
from billing.ledger.records import PAID_BY_HOLD, Ask, BalanceKey, Booking, GiveBack, HoldAsk, LastCents, UsageFacts, time_of, uuid7
from billing.ledger.sqlite import SQLiteStore
from billing.ledger.store import BadRow, Conflict, ConnectionLost, Store
from billing.ledger.unconfirmed import Unconfirmed
from billing.ledger.writer import Handlers, Host, Writer

TICK = 0.1  # seconds between looks at recalls, and at charges whose commit is late
SWEEP = 5  # ticks between looks for idle leases
ANSWER_WITHIN = 8.0  # seconds after which a connection that does not answer is broken; the server itself gives up after 5
FORGET_PROCESSES = datetime.timedelta(days=30)

Counted = Callable[[], Awaitable[int]]
"""Gives the part of a reserve that must fit in the last cents exactly, in nano-dollars: counting takes a moment, so it is asked only then."""

log = structlog.get_logger("billing.ledger")


class LedgerConfig(NamedTuple):
    """`database`: a libpq URL, or the path of a SQLite file (then `sqlite` is true)."""

    database: str
    sqlite: bool
    data_dir: Path
    lease_idle: float = 2.0
    database_silence: float = 5.0
    disk_reserve: int = 64 * 2**20


class Charge:
    """An admission: money set aside for one request, until it is settled or released."""

    __slots__ = ("at", "book", "cents", "id", "open", "parts")

    def __init__(self, identity: uuid.UUID, at: datetime.datetime, book: LeaseBook) -> None:
        self.id = identity
        self.at = at
        self.book = book
        self.parts: list[tuple[Slice, int]] = []
        self.cents: list[Slice] = []
        self.open = True

    @property
    def balances(self) -> tuple[int, ...]:
        """Ids of the balances asked: what the charge names."""
        return tuple(part.balance_id for part, _ in self.parts)

    @property
    def reserved(self) -> int:
        """Nano-dollars set aside on each balance: the least of them."""
        return min((amount for _, amount in self.parts), default=0)


class Ledger:
    """Start it in a running loop, stop it in the same."""

    def __init__(self, config: LedgerConfig) -> None:
        self._config = config
        self._slot: Slot | None = None
        self._store: Store | None = None
        self._writer: Writer | None = None
        self._journal: Journal | None = None
        self._listener: Listener | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._unconfirmed: Unconfirmed | None = None
        self._book = self._new_book(secrets.token_hex(16))
        self._stopped = False

    @property
    def boot_id(self) -> str:
        """This life's name; another one after the process was fenced."""
        return self._book.boot_id

    def _new_book(self, boot_id: str) -> LeaseBook:
        return LeaseBook(boot_id, self._acquire, self._give_back, self._config.lease_idle)

    async def start(self) -> None:
        """Takes a slot, buries the dead of this host, registers, and starts the writer. Raises ConnectionLost where the database is away."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.assemble, loop)
        self._running.start()
        if not self._config.sqlite:
            self._listener = Listener(self._config.database, loop, self._recalled)
            self._listener.start()
        self._ticker = loop.create_task(self._tick(), name="ledger-tick")

    def assemble(self, loop: asyncio.AbstractEventLoop) -> None:
        """Everything of `start` but threads and tasks."""
        data_dir = self._config.data_dir
        self._slot = Slot.first_free(data_dir / "processes")
        kind = SQLiteStore if self._config.sqlite else PostgresStore
        store = self._store = kind(self._config.database, self.boot_id, self._slot.number)
        self._journal = Journal(data_dir / "journal", self.boot_id)
        self._unconfirmed = Unconfirmed(self._journal)
        handlers = Handlers(
            granted=lambda grant: self._book.granted(grant),
            not_granted=lambda ask, reason: self._of(ask.boot_id).not_granted(ask.key, reason),
            returned=lambda back: self._of(back.boot_id).returned(back, 0 if back.drop else back.amount),
            resync=lambda leases: self._book.resync(leases),
            committed=self._committed,
            recalled=self._recalled,
            started_over=self._started_over,
        )
        host = Host(host_of(data_dir / "processes"), data_dir, self._config.disk_reserve)
        self._writer = Writer(store, loop, handlers, host, self._journal, Reaper(store, data_dir, self._slot))
        self._prepare(store, host)

    def _prepare(self, store: Store, host: Host) -> None:
        store.connect()
        store.prune_processes(datetime.datetime.now(tz=datetime.UTC) - FORGET_PROCESSES)
        store.register(host.name)
        self._running.beat()

    @property
    def _running(self) -> Writer:
        if self._writer is None:
            raise Closed("the ledger has not started")
        return self._writer

    def _of(self, boot_id: str) -> LeaseBook:
        """The book of that life; a closed one where it is over."""
        return self._book if boot_id == self._book.boot_id else LeaseBook(boot_id, self._acquire, self._give_back, 0.0)

    @property
    def reserved_total(self) -> int:
        """Nano-dollars set aside for requests in flight; 0 where nothing is in flight."""
        return self._book.reserved_total()

    @property
    def open_charges(self) -> int:
        """Requests admitted and neither settled nor released."""
        return self._writer.open_charges if self._writer else 0

    def now(self) -> float:
        """The database's clock, as Unix time: ours, and how far they were apart at the last beat."""
        return time.time() + (self._writer.offset.total_seconds() if self._writer else 0.0)

    def check_admission(self) -> None:
        """Raises Closed where no request may be admitted now."""
        writer = self._running
        if self._stopped:
            raise Closed("the server is stopping")
        if writer.fenced:
            raise Closed("another process declared this one dead")
        if boot_time() - writer.answered_beat > self._config.database_silence:
            raise Closed("the database does not answer")
        if writer.disk_full:
            raise Closed("the disk is full")
        if writer.full:
            raise Closed("too many charges wait for the database", retry_after=1)

    def reserve(self, balances: Sequence[BalanceKey], amount: int, floor: int, counted: Counted | None = None) -> "Reservation":
        """An async context manager that sets `amount` aside on each balance, the token's first, and gives back on leaving what was not settled.

        `floor` is the part that must fit in any case (input and fixed prices): where the whole does not fit but something is left, one request
        may take all of it. `counted` gives that part exactly where the bound on it is the obstacle. Entering raises NotEnough or Closed. An
        amount of 0 asks no balance.
        """
        return Reservation(self, balances, amount, floor, counted)

    async def admit(self, balances: Sequence[BalanceKey], amount: int, floor: int, counted: Counted | None = None) -> Charge:
        """What entering `reserve` does."""
        self.check_admission()
        writer = self._running
        at = datetime.datetime.now(tz=datetime.UTC) + writer.offset
        milliseconds = int(at.timestamp() * 1000)
        charge = Charge(uuid7(milliseconds), datetime.datetime.fromtimestamp(milliseconds / 1000, tz=datetime.UTC), self._book)
        writer.open_charges += 1
        try:
            if amount > 0:
                for key in balances:
                    floor = await self._take(charge, key, amount, floor, counted)
        except BaseException:
            self.release(charge)
            raise
        return charge

    async def _take(self, charge: Charge, key: BalanceKey, amount: int, floor: int, counted: Counted | None) -> int:
        """Adds the part of one balance; gives back the floor, exact where it had to be counted."""
        try:
            charge.parts.append((await charge.book.reserve(key, amount), amount))
        except NotEnough as refusal:
            part = charge.book.slice_of(key)
            if key.period and not part.balance_id:
                return floor  # the budget was removed a moment ago: no balance is made for it any more
            if refusal.left <= 0 or part.last_cents or not part.balance_id:
                raise
            if refusal.left < floor and counted is not None:
                floor = min(floor, await counted())
            if refusal.left < floor or not (taken := await self._last_cents(charge, part, floor)):
                raise
            charge.parts.append((part, taken))
        return floor

    async def _last_cents(self, charge: Charge, part: Slice, floor: int) -> int:
        """All that is left of a balance, for one request at a time (docs/ledger.md §3.5)."""
        free, part.free = part.free, 0
        part.returning += free
        part.last_cents = True
        boot_id = charge.book.boot_id
        claim = LastCents(boot_id, part.key, part.balance_id, free, floor, f"{boot_id}:{charge.id.hex}")
        answer = asyncio.ensure_future(self._claim(claim, part, free))
        try:
            taken = await asyncio.shield(answer)
        except asyncio.CancelledError:
            answer.add_done_callback(lambda done: self._unclaim(charge, part, done))
            raise
        if taken:
            charge.cents.append(part)
        return taken

    async def _claim(self, claim: LastCents, part: Slice, free: int) -> int:
        taken = 0
        try:
            taken = await self._running.last_cents(claim)
        finally:
            part.returning -= free
            part.last_cents = bool(taken)
            part.reserved += taken
        return taken

    def _unclaim(self, charge: Charge, part: Slice, done: "asyncio.Future[int]") -> None:
        """The client left while the claim was under way: what it brought goes back by an empty booking's way."""
        if not done.cancelled() and done.exception() is None and done.result():
            part.give(done.result())
            part.last_cents = False
            self._free_last_cents(charge, part)

    def _free_last_cents(self, charge: Charge, part: Slice) -> None:
        """Clears the mark in the database; the money itself stays in the lease until the sweep."""
        boot_id = charge.book.boot_id
        self._running.give_back(GiveBack(boot_id, part.key, part.balance_id, 0, drop=False, holder=f"{boot_id}:{charge.id.hex}"))

    def release(self, charge: Charge) -> None:
        """Ends a charge that nothing was used of. Harmless when repeated or after a settle."""
        if not charge.open:
            return
        charge.open = False
        self._running.open_charges -= 1
        for part, amount in charge.parts:
            part.give(amount)
        for part in charge.cents:
            part.last_cents = False
            self._free_last_cents(charge, part)

    def book(self, charge: Charge, facts: UsageFacts) -> "asyncio.Future[None]":
        """Queues the charge at once; the future ends when it is committed, or with NotBooked. Exactly once a charge."""
        if not charge.open:
            raise NotBooked("this charge was settled or released before")
        charge.open = False
        writer = self._running
        writer.open_charges -= 1
        for part, reserved in charge.parts:
            part.charge(reserved, facts.amount)
        for part in charge.cents:
            part.last_cents = False
        cents = tuple(part.balance_id for part in charge.cents)
        return self._queue(Booking(charge.id, charge.at, charge.book.boot_id, charge.balances, facts, cents))

    def _queue(self, booking: Booking) -> "asyncio.Future[None]":
        future = self._running.book(booking)
        if self._unconfirmed is not None:
            self._unconfirmed.add(booking, future)
        return future

    async def settle(self, charge: Charge, facts: UsageFacts) -> None:
        """Books the charge and waits until the database or the journal has it; goes on when the caller is cancelled. Raises NotBooked."""
        await self.book(charge, facts)

    async def hold(self, charge: Charge, job: str, deadline: datetime.datetime) -> uuid.UUID:
        """Turns what the charge has reserved into a hold for a job that outlives its request, before the upstream is called.

        Gives back the hold's id, which is the charge's; the job's row keeps it, and `charge.balances`. Raises Closed: then nothing was moved,
        and the reserve stands.
        """
        amounts = tuple((part.balance_id, amount) for part, amount in charge.parts)
        await asyncio.shield(self._running.hold(HoldAsk(charge.book.boot_id, charge.id, job, deadline, amounts)))
        charge.open = False
        self._running.open_charges -= 1
        for part, amount in charge.parts:
            part.reserved -= amount
        return charge.id

    async def settle_hold(self, hold: uuid.UUID, balances: Sequence[int], facts: UsageFacts) -> None:
        """Books the charge of work that a hold pays, by any process, as often as it likes: once. What is left of the hold is available again.

        `balances` are those of its charge: where the hold has expired meanwhile, they pay without it. Raises NotBooked.
        """
        await self._queue(Booking(hold, time_of(hold), PAID_BY_HOLD, tuple(balances), facts))

    def _recalled(self, balance: int) -> None:
        self._book.recalled(balance)

    def _committed(self, booking: Booking) -> None:
        if booking.boot_id == self._book.boot_id:
            self._book.committed(booking)
        if self._unconfirmed is not None:
            self._unconfirmed.committed(booking)

    def _started_over(self, boot_id: str) -> None:
        """The process was fenced and has a new name: its leases are gone, and so is what was reserved from them."""
        self._book.close("this process was declared dead and starts over")
        self._book = self._new_book(boot_id)
        self._running.fenced = False

    def _acquire(self, ask: Ask) -> None:
        self._running.acquire(ask)

    def _give_back(self, back: GiveBack) -> None:
        self._running.give_back(back)

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK)
            ticks += 1
            self._book.sweep_recalled()
            if ticks % SWEEP == 0:
                self._book.sweep()
            if self._unconfirmed is not None:
                await self._unconfirmed.look()
            if self._store is not None:
                self._store.interrupt(ANSWER_WITHIN)

    async def stop(self, within: float) -> None:
        """Admits nothing more, waits for what is being settled, and gives all leases back. What the database does not take stays in the journal."""
        self._stopped = True
        if self._listener is not None:
            self._listener.stop()
        if self._writer is None or self._store is None or self._unconfirmed is None or self._journal is None:
            return
        await self._unconfirmed.stop(within)
        self._writer.stop()
        await asyncio.to_thread(self._writer.join, within)
        if self._ticker is not None:
            self._ticker.cancel()
        ended = not self._writer.is_alive()
        if ended:
            await asyncio.to_thread(self._leave, self._store)
        if self._listener is not None:
            await asyncio.to_thread(self._listener.join, within)
        await asyncio.to_thread(self._unconfirmed.close)
        self._journal.close(keep=not ended or self._journal.count > 0)
        if self._slot is not None:
            self._slot.release()

    def _leave(self, store: Store) -> None:
        """Gives the leases back; where the database is away, the next start does it."""
        try:
            try:
                store.reap(store.boot_id)
            except (ConnectionLost, Conflict):
                store.connect()
                store.reap(store.boot_id)
        except (ConnectionLost, Conflict, BadRow) as error:
            log.warning("ledger.leases_left", error=str(error))
        store.close()


class Reservation:
    """`async with ledger.reserve(…) as charge`: see there."""

    __slots__ = ("_amount", "_balances", "_charge", "_counted", "_floor", "_ledger")

    def __init__(self, ledger: Ledger, balances: Sequence[BalanceKey], amount: int, floor: int, counted: Counted | None) -> None:
        self._ledger = ledger
        self._balances = balances
        self._amount = amount
        self._floor = floor
        self._counted = counted
        self._charge: Charge | None = None

    async def __aenter__(self) -> Charge:
        self._charge = await self._ledger.admit(self._balances, self._amount, self._floor, self._counted)
        return self._charge

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._charge is not None:
            self._ledger.release(self._charge)
