"""The money that this process may spend, in memory: slices of balances, admitted from without the database (docs/ledger.md §3).

Only the event loop's thread touches a book. For every slice, at any time and with no operation under way:

    lease.remaining in the database = free + reserved + unsettled + returning
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from billing.ledger.errors import Closed, LedgerError, NotEnough
from billing.ledger.records import Ask, BalanceKey, Booking, GiveBack, Granted

REFUSAL_REMEMBERED = 0.2  # seconds; a credit, a recall or a settle clears it sooner
SPENDING_WINDOW = 1.0  # seconds of recent spending that a slice is made for
RECALL_WAIT = 0.25  # seconds that a request waits for money that other processes hold
RECALL_STEP = 0.05  # seconds between looks at what they gave back
RECALL_WINDOW = 1.0  # seconds after a recall in which nothing is kept that no request needs


class Waiter(NamedTuple):
    """A request that waits for its share of an acquire, since a moment of the monotonic clock."""

    amount: int
    granted: "asyncio.Future[None]"
    since: float


class Slice:
    """This process's part of one balance. Amounts are nano-dollars."""

    __slots__ = (
        "acquiring",
        "balance_id",
        "free",
        "key",
        "last_cents",
        "recalled_until",
        "refused_at",
        "refused_left",
        "reserved",
        "returning",
        "spending",
        "spent_at",
        "unsettled",
        "used_at",
        "waiters",
    )

    def __init__(self, key: BalanceKey) -> None:
        self.key = key
        self.balance_id = 0
        self.free = 0
        self.reserved = 0  # by requests in flight
        self.unsettled = 0  # charged, not yet committed
        self.returning = 0  # given back, not yet committed
        self.acquiring = False
        self.waiters: deque[Waiter] = deque()
        self.spending = 0.0  # nano-dollars in the last window, decaying
        self.spent_at = 0.0
        self.used_at = time.monotonic()
        self.refused_at = 0.0
        self.refused_left = 0
        self.recalled_until = 0.0
        self.last_cents = False  # a request of this process has them, or asks for them

    @property
    def idle(self) -> bool:
        """Nobody needs it now."""
        return not (self.reserved or self.unsettled or self.returning or self.acquiring or self.waiters or self.last_cents)

    def take(self, amount: int) -> bool:
        """Reserves from what is free."""
        if self.free < amount or self.waiters:
            return False
        self._reserve(amount)
        return True

    def _reserve(self, amount: int) -> None:
        self.free -= amount
        self.reserved += amount
        self.used_at = time.monotonic()

    def give(self, amount: int) -> None:
        """Ends a reserve that was not used."""
        self.reserved -= amount
        self.free += amount
        self.refused_at = 0.0
        self.serve()

    def charge(self, reserved: int, amount: int) -> None:
        """Ends a reserve with a charge, which may be larger: then `free` may fall below zero."""
        self.reserved -= reserved
        self.free += reserved - amount
        self.unsettled += amount
        now = time.monotonic()
        self.spending = self.spending * max(0.0, 1 - (now - self.spent_at) / SPENDING_WINDOW) + amount
        self.spent_at = self.used_at = now
        self.refused_at = 0.0
        self.serve()

    def serve(self) -> None:
        """Grants waiters in their order, as far as the free money goes."""
        while self.waiters:
            waiter = self.waiters[0]
            if waiter.granted.done():  # its client left
                self.waiters.popleft()
                continue
            if self.free < waiter.amount:
                return
            self.waiters.popleft()
            self._reserve(waiter.amount)
            waiter.granted.set_result(None)

    def fail(self, error: Callable[[], LedgerError], beyond: int, since: float = math.inf) -> bool:
        """Refuses the waiters that need more than `beyond` and came before `since`, and serves the rest; whether anybody was refused."""
        kept: deque[Waiter] = deque()
        refused = False
        for waiter in self.waiters:
            if waiter.granted.done():
                continue
            if waiter.amount > beyond and waiter.since < since:
                waiter.granted.set_exception(error())
                refused = True
            else:
                kept.append(waiter)
        self.waiters = kept
        self.serve()
        return refused

    def ask(self, boot_id: str) -> Ask | None:
        """What to acquire now: for those that wait, and for the spending of the next second before the slice runs out."""
        waiting = [waiter.amount for waiter in self.waiters if not waiter.granted.done()]
        recent = int(self.spending * max(0.0, 1 - (time.monotonic() - self.spent_at) / SPENDING_WINDOW))
        if waiting:
            need = max(1, waiting[0] - self.free)
            opens = bool(self.key.period) and not self.balance_id
            return Ask(boot_id, self.key, need, max(need, sum(waiting) - self.free), recent, opens)
        if recent and self.free < recent // 2:
            return Ask(boot_id, self.key, 0, 0, recent)
        return None


class LeaseBook:
    """All slices of the process under one boot id. `acquire` and `give_back` put work into the writer's queue."""

    def __init__(self, boot_id: str, acquire: Callable[[Ask], None], give_back: Callable[[GiveBack], None], idle: float) -> None:
        self.boot_id = boot_id
        self._acquire = acquire
        self._give_back = give_back
        self._idle = idle
        self._slices: dict[BalanceKey, Slice] = {}
        self._by_id: dict[int, Slice] = {}
        self._recalled: set[Slice] = set()
        self._closed = ""

    def slice_of(self, key: BalanceKey) -> Slice:
        """The slice of that balance, empty at first."""
        found = self._slices.get(key)
        if found is None:
            found = self._slices[key] = Slice(key)
        return found

    async def reserve(self, key: BalanceKey, amount: int) -> Slice:
        """Sets `amount` aside, from memory where it can. Raises NotEnough or Closed."""
        if self._closed:
            raise Closed(self._closed)
        part = self.slice_of(key)
        if part.take(amount):
            if part.free * 2 < part.spending:
                self.refill(part)
            return part
        now = time.monotonic()
        if amount > part.refused_left and now - part.refused_at < REFUSAL_REMEMBERED:
            raise NotEnough(key.kind, part.refused_left)
        waiter = Waiter(amount, asyncio.get_running_loop().create_future(), now)
        part.waiters.append(waiter)
        self.refill(part)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
                part.give(amount)
            raise
        return part

    def refill(self, part: Slice) -> None:
        """Asks the database for more, once at a time a balance."""
        if part.acquiring or self._closed:
            return
        ask = part.ask(self.boot_id)
        if ask is not None:
            part.acquiring = True
            self._acquire(ask)

    def granted(self, grant: Granted) -> None:
        """An acquire was committed."""
        part = self.slice_of(grant.key)
        part.acquiring = False
        if grant.balance_id:
            part.balance_id = grant.balance_id
            self._by_id[grant.balance_id] = part
        part.free += grant.amount
        part.serve()
        if not part.waiters:
            return
        if grant.amount == 0:
            self._refuse(part, grant)
            if grant.elsewhere > 0 and part.waiters:
                part.acquiring = True  # until the next look
                asyncio.get_running_loop().call_later(RECALL_STEP, self._look_again, part)
                return
        self.refill(part)

    def _refuse(self, part: Slice, grant: Granted) -> None:
        """Refuses who cannot be served: at once, or after RECALL_WAIT where other processes may give back what is missing."""
        now = time.monotonic()
        left = max(0, part.free + grant.available)
        since = now - RECALL_WAIT if grant.elsewhere > 0 else math.inf
        if part.fail(lambda: NotEnough(grant.key.kind, left), beyond=left, since=since):
            part.refused_at, part.refused_left = now, left

    def _look_again(self, part: Slice) -> None:
        part.acquiring = False
        part.serve()
        self.refill(part)

    def not_granted(self, key: BalanceKey, reason: str) -> None:
        """An acquire could not be committed: whoever waits is told to come again."""
        part = self.slice_of(key)
        part.acquiring = False
        part.fail(lambda: Closed(reason), beyond=-1)

    def committed(self, booking: Booking) -> None:
        """A charge was committed: the database's leases have it too."""
        for balance in booking.balances:
            self._by_id[balance].unsettled -= booking.facts.amount

    def returned(self, back: GiveBack, amount: int) -> None:
        """A give-back was committed, or (amount 0) will be counted by the next `resync`."""
        part = self._slices.get(back.key)
        if part is not None:
            part.returning -= amount

    def recalled(self, balance: int) -> None:
        """Somebody needs that balance, or it was credited: what no request has reserved goes back, now and for a while."""
        part = self._by_id.get(balance)
        if part is None:
            return
        part.refused_at = 0.0
        part.recalled_until = time.monotonic() + RECALL_WINDOW
        self._recalled.add(part)
        self._return(part, seen=True)

    def sweep_recalled(self) -> None:
        """Gives back what has become free in slices under recall."""
        now = time.monotonic()
        for part in list(self._recalled):
            if part.free > 0 and not part.waiters:
                self._return(part)
            if now > part.recalled_until:
                self._recalled.discard(part)

    def _return(self, part: Slice, *, seen: bool = False) -> None:
        free = max(0, part.free)
        part.free -= free
        part.returning += free
        self._give_back(GiveBack(self.boot_id, part.key, part.balance_id, free, drop=False, seen=seen))

    def sweep(self) -> None:
        """Gives back what has been idle: whole slices, or the free part of one whose requests are still running."""
        now = time.monotonic()
        for key, part in list(self._slices.items()):
            if now - part.used_at < self._idle or part.acquiring or part.waiters:
                continue
            if part.idle:
                del self._slices[key]
                self._recalled.discard(part)
                if part.balance_id:
                    del self._by_id[part.balance_id]
                    self._give_back(GiveBack(self.boot_id, key, part.balance_id, part.free, drop=True))
            elif part.free > 0:
                self._return(part)

    def resync(self, leases: dict[int, int]) -> None:
        """Sets the memory from the lease rows, after a connection broke with moves under way; leases of slices already dropped go back."""
        unknown = dict(leases)
        for part in self._slices.values():
            if part.balance_id:
                part.free = unknown.pop(part.balance_id, 0) - part.reserved - part.unsettled - part.returning
                part.serve()
        for balance, remaining in unknown.items():
            if remaining:
                self._give_back(GiveBack(self.boot_id, BalanceKey("", 0), balance, remaining, drop=False))

    def close(self, reason: str) -> None:
        """The process lost all leases: nothing is admitted from this book any more. What it reserved may still be settled."""
        self._closed = reason
        for part in self._slices.values():
            part.fail(lambda: Closed(reason), beyond=-1)

    def reserved_total(self) -> int:
        """Nano-dollars set aside for requests in flight."""
        return sum(part.reserved for part in self._slices.values())
