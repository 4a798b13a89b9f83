"""The writer's connection to the database: transactions of the ledger, the same on SQLite and PostgreSQL.

Every transaction of a process first locks its own Process row and raises its beat (docs/ledger.md §6). Only the writer's thread uses a store.
"""

import datetime
import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import msgspec

from billing.ledger import statements as sql
from billing.ledger.records import PAID_BY_HOLD, Ask, BalanceKey, Booking, GiveBack, Granted, HoldAsk, LastCents, month_of

Rows = list[tuple[Any, ...]]


class ConnectionLost(Exception):
    """The database did not answer, or the connection broke: whether the transaction was committed is unknown."""


class BadRow(Exception):
    """The database refused a row of the batch: nothing of it was committed."""


class TooOld(BadRow):
    """A charge of a month whose rows were pruned: whether it was booked before cannot be seen any more."""


class Conflict(Exception):
    """A deadlock, or a lock not had in time: the transaction was rolled back and may be tried again."""


class Fenced(Exception):
    """Another process declared this one dead and took its leases back."""


class Store(ABC):
    """One connection. Subclasses know their dialect; what is the same in both stands here."""

    NOW: ClassVar[str]
    """The database's clock as a column of times holds it."""
    SECOND_AGO: ClassVar[str]
    FOR_SHARE: ClassVar[str]
    """Locks the rows that a SELECT reads against edits."""

    def __init__(self, boot_id: str, slot: int) -> None:
        self.boot_id = boot_id
        self.slot = slot
        self.session = 0

    @abstractmethod
    def connect(self) -> None:
        """Opens the connection anew. Raises ConnectionLost."""

    @abstractmethod
    def close(self) -> None:
        """Closes it; harmless when repeated."""

    def interrupt(self, patience: float) -> None:  # noqa: B027  SQLite's own busy timeout ends every wait
        """Breaks the connection if it has waited longer for an answer; called from another thread."""

    @abstractmethod
    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        """Runs a statement of the common dialect (`?` marks a parameter) and fetches all of its rows."""

    @abstractmethod
    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN … COMMIT; ROLLBACK after any error. Raises ConnectionLost, BadRow or Conflict."""
        yield

    @abstractmethod
    def settle(self, bookings: Sequence[Booking]) -> int:
        """Books a batch in one transaction; gives back how many rows were new. Repeating it is harmless."""

    @abstractmethod
    def now(self) -> datetime.datetime:
        """The database's clock."""

    @abstractmethod
    def _acquire(self, asks: Sequence[Ask], processes: int) -> list[Granted]: ...

    @abstractmethod
    def _lock_balances(self, ids: Sequence[int], keys: Sequence[BalanceKey]) -> None:
        """Locks balances in the order of their keys."""

    @abstractmethod
    def _notify(self, balance: int) -> None:
        """Wakes the processes that hold leases of a balance."""

    def beat(self, journal_pending: int = 0, journal_sum: int = 0) -> datetime.datetime:
        """Shows that this process lives, and what its journal holds; gives back the database's time. Raises Fenced."""
        with self.transaction():
            self._lock_process(sql.PROCESS_REPORT, (journal_pending, journal_sum))
        return self.now()

    def register(self, host: str, boot_id: str | None = None) -> None:
        """Writes this process's row; with `boot_id` under a new name."""
        name = boot_id or self.boot_id
        with self.transaction():
            self.run(sql.PROCESS_ADD, (name, self.slot, host, False))
        self.boot_id, self.session = name, 1

    def new_session(self) -> dict[int, int]:
        """After an unknown COMMIT, on a new connection: what is still under way in the old one must not count. Gives back the leases."""
        with self.transaction():
            self._lock_process(sql.PROCESS_SESSION)
        return self.leases()

    def leases(self) -> dict[int, int]:
        """{balance id: remaining} of this process."""
        return dict(self.run(sql.LEASES, (self.boot_id,)))

    def recalled(self) -> list[int]:
        """Balances of this process's leases whose recall it has not answered."""
        return [balance for (balance,) in self.run(sql.RECALLED, (self.boot_id,))]

    def move(self, asks: Sequence[Ask], backs: Sequence[GiveBack], cents: Sequence[LastCents]) -> tuple[list[Granted], list[Granted]]:
        """Takes from and gives to balances in one transaction. Gives back what each ask and each LastCents brought, in their order."""
        self._open_budgets(sorted({ask.key for ask in asks if ask.opens}))
        with self.transaction():
            self._lock_process(sql.PROCESS_BEAT)
            if len(asks) + len(backs) + len(cents) > 1:
                ids = [back.balance_id for back in backs] + [ask.balance_id for ask in cents]
                self._lock_balances(ids, [ask.key for ask in asks])
            for back in backs:
                self._give_back(back)
            last = [self._last_cents(ask) for ask in cents]
            granted: list[Granted] = []
            if asks:
                found = {grant.key: self._recall(ask_of, grant) for ask_of, grant in self._acquired(asks)}
                granted = [found.get(ask.key) or Granted(ask.key, 0, 0, 0) for ask in asks]
        return granted, last

    def _open_budgets(self, keys: Sequence[BalanceKey]) -> None:
        """Makes the balances of budgets whose period has just begun; in a transaction of its own, in which no lock of a balance is waited for:
        whoever edits several budgets locks budgets and balances in turn."""
        missing = [key for key in keys if not self.run(sql.BALANCE_EXISTS, key)]
        if missing:
            with self.transaction():
                self._lock_process(sql.PROCESS_BEAT)
                for key in missing:
                    self.run(sql.BUDGET_OPEN.format(for_share=self.FOR_SHARE), (key.period, key.kind, key.subject))

    def hold(self, ask: HoldAsk) -> None:
        """Moves money from this process's leases into a hold, before the work that it pays for begins."""
        with self.transaction():
            self._lock_process(sql.PROCESS_BEAT)
            for balance, amount in ask.amounts:
                if not self.run(sql.LEASE_TAKE, (amount, self.boot_id, balance)):
                    raise BadRow(f"no lease of balance {balance}")
                self.run(sql.HOLD_ADD, (self._uuid(ask.hold_id), balance, amount, ask.job, ask.deadline))

    def _end_holds(self, new: Sequence[Booking]) -> None:
        """Charges that holds pay were taken from what is available: their holds go there, with whatever is left of them."""
        for booking in new:
            if booking.boot_id == PAID_BY_HOLD:
                for balance, amount in self.run(sql.HOLD_DROP, (self._uuid(booking.id),)):
                    self.run(sql.BALANCE_ADD, (amount, balance))

    def _add_to_closed(self, bookings: Sequence[Booking], new: Sequence[Booking]) -> None:
        """After the insert, by statements of their own: charges of closed months add themselves to the checkpoints. Raises TooOld."""
        if not bookings:
            return
        closed = self.run(sql.MONTHS_CLOSED, (month_of(min(booking.at for booking in bookings)),))
        if not closed:
            return
        for booking in bookings:
            if any(pruned for month, pruned in closed if str(month) >= month_of(booking.at)):
                raise TooOld(f"the month of charge {booking.id} was pruned")
        changes: Counter[str] = Counter()
        sums: dict[tuple[str, int, str], list[int]] = {}
        for booking in new:
            month = next((str(month) for month, _ in closed if str(month) >= month_of(booking.at)), None)
            if month is not None:
                changes[month] += 1
                for kind, subject, amount in _shares(booking):
                    total = sums.setdefault((kind, subject, month), [0, 0])
                    total[0] += amount
                    total[1] += 1
        for month, count in sorted(changes.items()):
            self.run(sql.MONTH_CHANGED, (count, month))
        for key, total in sorted(sums.items()):
            self.run(sql.CHECKPOINT_ADD, (*key, *total))

    def living(self) -> Rows:
        """(boot id, slot, host, beat) of every process that is not fenced."""
        return self.run(sql.PROCESSES_LIVING, (False,))

    def reap(self, boot_id: str, beat: int | None = None) -> bool:
        """Fences a dead process and gives its leases and last cents back. False where another did it first, or its beat is not that one."""
        with self.transaction():
            if not self.run(sql.PROCESS_FENCE, (True, boot_id, False, beat)):
                return False
            leases = self.run(sql.LEASES_DROP, (boot_id,))
            self._lock_balances([balance for balance, _ in leases], [])
            for balance, remaining in leases:
                self.run(sql.BALANCE_ADD, (remaining, balance))
                self.run(sql.LAST_CENTS_OF_BOOT, (balance, f"{boot_id}:%"))
        return True

    def prune_processes(self, before: datetime.datetime) -> None:
        """Forgets fenced processes that started before then."""
        with self.transaction():
            self.run(sql.PROCESSES_PRUNE, (True, before))

    def _processes(self) -> int:
        return max(1, int(self.run(sql.PROCESS_COUNT, (False,))[0][0]))

    def _lock_process(self, statement: str, parameters: tuple[Any, ...] = ()) -> None:
        rows = self.run(statement, (*parameters, self.boot_id))
        if not rows or rows[0][0]:
            raise Fenced(self.boot_id)
        self.session = int(rows[0][1])

    def _uuid(self, value: uuid.UUID) -> object:
        return value

    def _acquired(self, asks: Sequence[Ask]) -> list[tuple[Ask, Granted]]:
        by_key = {ask.key: ask for ask in asks}
        return [(by_key[grant.key], grant) for grant in self._acquire(asks, self._processes())]

    def _recall(self, ask: Ask, grant: Granted) -> Granted:
        """Where a balance has less than is needed, what other processes hold of it is called back (docs/ledger.md §3)."""
        if grant.amount or not ask.need:
            return grant
        ((elsewhere,),) = self.run(sql.LEASED_ELSEWHERE, (grant.balance_id, self.boot_id))
        if elsewhere > 0 and self.run(sql.RECALL.format(now=self.NOW, second_ago=self.SECOND_AGO), (grant.balance_id,)):
            self._notify(grant.balance_id)
        return msgspec.structs.replace(grant, elsewhere=int(elsewhere))

    def _give_back(self, back: GiveBack) -> None:
        if back.drop:
            gone = self.run(sql.LEASE_DROP, (self.boot_id, back.balance_id))
            amount = int(gone[0][0]) if gone else 0
        else:
            taken = back.amount and self.run(sql.LEASE_TAKE, (back.amount, self.boot_id, back.balance_id))
            amount = back.amount if taken else 0
        if amount:
            self.run(sql.BALANCE_ADD, (amount, back.balance_id))
        if back.holder:
            self.run(sql.LAST_CENTS_CLEAR, (back.balance_id, back.holder))
        if back.seen:
            self.run(sql.RECALL_SEEN.format(now=self.NOW), (self.boot_id, back.balance_id))

    def _last_cents(self, ask: LastCents) -> Granted:
        self._lock_balances([ask.balance_id], [])
        if ask.free:
            self._give_back(GiveBack(self.boot_id, ask.key, ask.balance_id, ask.free, drop=False))
        ((available, holder),) = self.run(sql.BALANCE_LOOK, (ask.balance_id,))
        if holder is not None or available <= 0 or available < ask.floor or self.run(sql.RECALL_UNANSWERED, (ask.balance_id, self.boot_id)):
            return Granted(ask.key, ask.balance_id, 0, available)
        self.run(sql.BALANCE_LAST_CENTS, (ask.holder, ask.balance_id))
        self.run(sql.LEASE_PUT, (self.boot_id, ask.balance_id, available))
        return Granted(ask.key, ask.balance_id, available, 0)


def _shares(booking: Booking) -> list[tuple[str, int, int]]:
    """(kind, subject, amount) of the checkpoints that a charge counts in: what billing/month_sums.py sums over rows."""
    facts = booking.facts
    shares = [("balance", balance, facts.amount) for balance in booking.balances if facts.amount]
    if facts.ended in sql.BOOKED:
        shares += [("user", facts.user_id, facts.amount), ("token", facts.token_id, facts.amount), ("channel", facts.channel_id, facts.amount)]
    return shares
