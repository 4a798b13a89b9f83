"""The ledger on SQLite: one process, one writer, WAL with synchronous=FULL. https://www.sqlite.org/lang_transaction.html"""

import datetime
import json
import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from billing.ledger import statements as sql
from billing.ledger.records import Ask, BalanceKey, Booking, Granted
from billing.ledger.store import BadRow, ConnectionLost, Rows, Store

PRAGMAS = ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "PRAGMA busy_timeout=10000")


def as_text(at: datetime.datetime) -> str:
    """A time as Django keeps it in SQLite, and looks for it: UTC without an offset, and without a fraction that is zero."""
    return str(at.astimezone(datetime.UTC).replace(tzinfo=None))


class SQLiteStore(Store):
    """`path` is the database file."""

    NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    SECOND_AGO = "strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 seconds')"
    FOR_SHARE = ""

    def __init__(self, path: str, boot_id: str, slot: int) -> None:
        super().__init__(boot_id, slot)
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def connect(self) -> None:
        self.close()
        try:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            for pragma in PRAGMAS:
                connection.execute(pragma)
        except sqlite3.Error as error:
            raise ConnectionLost(str(error)) from error
        self._connection = connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        if self._connection is None:
            raise ConnectionLost("not connected")
        try:
            values = [as_text(value) if isinstance(value, datetime.datetime) else value for value in parameters]
            return self._connection.execute(statement, values).fetchall()
        except (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.ProgrammingError, OverflowError) as error:
            raise BadRow(str(error)) from error
        except sqlite3.Error as error:
            raise ConnectionLost(str(error)) from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def settle(self, bookings: Sequence[Booking]) -> int:
        with self.transaction():
            rows = [value for booking in bookings for value in _row(booking)]
            insert = sql.SQLITE_INSERT.format(rows=", ".join([sql.SQLITE_ROW] * len(bookings)))
            inserted = {name for (name,) in self.run(insert, rows)}
            new = [booking for booking in bookings if booking.id.hex in inserted]
            self._take(new)
            self._count(new)
            self._end_holds(new)
            self._add_to_closed(bookings, new)
            for booking in bookings:
                for balance in booking.last_cents:
                    self.run(sql.LAST_CENTS_CLEAR, (balance, f"{booking.boot_id}:{booking.id.hex}"))
        return len(new)

    def _take(self, bookings: Sequence[Booking]) -> None:
        due: Counter[tuple[str, int]] = Counter()
        for booking in bookings:
            for balance in booking.balances:
                due[booking.boot_id, balance] += booking.facts.amount
        for (boot_id, balance), amount in sorted(due.items()):
            if amount and not self.run(sql.LEASE_TAKE, (amount, boot_id, balance)):
                self.run(sql.BALANCE_ADD, (-amount, balance))

    def _count(self, bookings: Sequence[Booking]) -> None:
        amounts: Counter[tuple[str, int]] = Counter()
        requests: Counter[tuple[str, int]] = Counter()
        for booking in bookings:
            if booking.facts.ended not in sql.BOOKED:
                continue
            for who in (("user", booking.facts.user_id), ("token", booking.facts.token_id), ("channel", booking.facts.channel_id)):
                amounts[who] += booking.facts.amount
                requests[who] += 1
        if requests:
            rows = ", ".join(["(?, ?, ?, ?, ?)"] * len(requests))
            values = [(kind, subject, self.slot, amounts[kind, subject], count) for (kind, subject), count in sorted(requests.items())]
            self.run(sql.COUNTERS_ADD.format(rows=rows), [value for row in values for value in row])

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(tz=datetime.UTC)

    def _lock_balances(self, ids: Sequence[int], keys: Sequence[BalanceKey]) -> None:
        """A transaction holds the database's only write lock already."""

    def _notify(self, balance: int) -> None:
        """Nobody listens: holders look at each beat."""

    def _uuid(self, value: uuid.UUID) -> object:
        return value.hex

    def _acquire(self, asks: Sequence[Ask], processes: int) -> list[Granted]:
        granted = []
        for ask in asks:
            found = self.run(sql.BALANCE_FIND.format(second_ago=self.SECOND_AGO), ask.key)
            if not found:
                continue
            ((balance, available, recalled),) = found
            amount = 0
            if available >= ask.need and available > 0:
                amount = ask.need if recalled else max(ask.need, min(ask.want, available), min(ask.slice, available // (4 * processes)))
            if amount:
                self.run(sql.BALANCE_ADD, (-amount, balance))
                self.run(sql.LEASE_PUT, (self.boot_id, balance, amount))
            granted.append(Granted(ask.key, balance, amount, available - amount))
        return granted


def _row(booking: Booking) -> tuple[Any, ...]:
    facts = booking.facts
    return (
        booking.id.hex, as_text(booking.at), "request", facts.ended, booking.boot_id, json.dumps(booking.balances), facts.user_id,
        facts.token_id, facts.channel_id, facts.key_id, facts.group, facts.endpoint, facts.model, facts.model_served, facts.stream,
        facts.counted, facts.input_tokens, facts.output_tokens, facts.amount, 0, facts.upstream_cost, facts.status, facts.duration_ms,
        facts.first_token_ms, facts.upstream_request_id, facts.client_ip, facts.detail,
    )  # fmt: skip
