"""The ledger on PostgreSQL: any number of processes; a batch is one statement in one pipeline with one sync.

Pipelines: https://www.psycopg.org/psycopg3/docs/advanced/pipeline.html ; row locks: https://www.postgresql.org/docs/15/explicit-locking.html
"""

import datetime
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, cast

import psycopg

from billing.ledger import statements as sql
from billing.ledger.records import PAID_BY_HOLD, Ask, BalanceKey, Booking, Granted, month_of
from billing.ledger.store import BadRow, Conflict, ConnectionLost, Rows, Store

OPTIONS = (
    "-c lock_timeout=1000 -c statement_timeout=5000 -c idle_in_transaction_session_timeout=5000 -c synchronous_commit=on "
    "-c timezone=UTC -c default_transaction_isolation=read\\ committed"
)
NAME = "oneapi ledger"  # in pg_stat_activity
RETRIED = ("40P01", "40001", "55P03")  # deadlock, serialization failure, lock timeout
MONTH_CLOSED = "22012"  # a division by zero: what POSTGRES_STILL_OPEN says
TRIES = 5


def array(values: Sequence[object]) -> str:
    """The text of a PostgreSQL array, as one parameter: a list of thousands costs psycopg far more. None becomes NULL."""
    return "{" + ",".join(["NULL" if value is None else _element(value) for value in values]) + "}"


def _element(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


class _MonthClosed(Exception):
    """A charge of the batch is late: its month is closed. The transaction failed."""


class PostgresStore(Store):
    """`dsn` is a libpq connection string or URL."""

    NOW = "clock_timestamp()"
    SECOND_AGO = "(clock_timestamp() - interval '1 second')"
    FOR_SHARE = "FOR SHARE"

    def __init__(self, dsn: str, boot_id: str, slot: int) -> None:
        super().__init__(boot_id, slot)
        self._dsn = dsn
        self._connection: psycopg.Connection | None = None
        self.conflicts = 0
        self._waiting_since: float | None = None

    def connect(self) -> None:
        self.close()
        try:
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=5, application_name=NAME, options=OPTIONS, prepare_threshold=0
            )
        except psycopg.Error as error:
            raise ConnectionLost(str(error)) from error

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None

    @property
    def _open(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            raise ConnectionLost("not connected")
        return self._connection

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> Rows:
        with self._errors():
            cursor = self._open.execute(cast(Any, statement.replace("?", "%s")), parameters)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("BEGIN")
        try:
            yield
            with self._errors():
                if self._open.execute("COMMIT").statusmessage != "COMMIT":
                    raise BadRow("the transaction was rolled back")
        except ConnectionLost:
            self.close()
            raise
        except BaseException:
            self._roll_back()
            raise

    def settle(self, bookings: Sequence[Booking]) -> int:
        step_by_step = any(booking.boot_id == PAID_BY_HOLD for booking in bookings)
        for attempt in range(TRIES):
            try:
                if not step_by_step:
                    with suppress(_MonthClosed), self._errors():
                        return self._settle_once(bookings)
                    self._roll_back()
                return self._settle_step_by_step(bookings)
            except Conflict:
                self._roll_back()
                self.conflicts += 1
                if attempt + 1 == TRIES:
                    raise
            except BadRow:
                self._roll_back()
                raise
            except ConnectionLost:
                self.close()
                raise
        raise AssertionError("unreachable")

    def _settle_once(self, bookings: Sequence[Booking]) -> int:
        columns, holders = _columns(bookings), _holders(bookings)
        connection = self._open
        with connection.pipeline():
            connection.execute("BEGIN")
            connection.execute(cast(Any, sql.PROCESS_BEAT.replace("?", "%s")), (self.boot_id,))
            booked = connection.execute(cast(Any, sql.POSTGRES_SETTLE), [*columns, self.slot])
            connection.execute(sql.POSTGRES_STILL_OPEN, (month_of(min(booking.at for booking in bookings)),))
            for holder in holders:
                connection.execute(cast(Any, sql.LAST_CENTS_CLEAR.replace("?", "%s")), holder)
            committed = connection.execute("COMMIT")
        row = booked.fetchone()
        if committed.statusmessage != "COMMIT" or row is None:
            raise BadRow("the batch was rolled back")
        return int(row[0])

    def _settle_step_by_step(self, bookings: Sequence[Booking]) -> int:
        """The same with what needs to know which rows were new: charges of closed months, and those that holds pay."""
        with self.transaction():
            self.run(sql.PROCESS_BEAT, (self.boot_id,))
            self._lock_balances(sorted({one for booking in bookings if booking.boot_id == PAID_BY_HOLD for one in booking.balances}), [])
            inserted = {row[0] for row in self.run(sql.POSTGRES_SETTLE_IDS, [*_columns(bookings), self.slot])}
            new = [booking for booking in bookings if booking.id in inserted]
            self._end_holds(new)
            self._add_to_closed(bookings, new)
            for holder in _holders(bookings):
                self.run(sql.LAST_CENTS_CLEAR, holder)
        return len(new)

    def now(self) -> datetime.datetime:
        return cast(datetime.datetime, self.run("SELECT clock_timestamp()")[0][0])

    def _acquire(self, asks: Sequence[Ask], processes: int) -> list[Granted]:
        columns = zip(*((*ask.key, ask.need, ask.want, ask.slice) for ask in asks), strict=True)
        parameters = [*(array(column) for column in columns), processes, self.boot_id, self.session, self.boot_id]
        rows = self.run(sql.POSTGRES_ACQUIRE.replace("%s", "?"), parameters)
        by_name = {(ask.key.kind, ask.key.subject, ask.key.period): ask.key for ask in asks}
        return [Granted(by_name[kind, subject, period], balance, amount, left) for kind, subject, period, balance, amount, left in rows]

    def _lock_balances(self, ids: Sequence[int], keys: Sequence[BalanceKey]) -> None:
        if ids or keys:
            columns = list(zip(*keys, strict=True)) if keys else [(), (), ()]
            self.run(sql.POSTGRES_LOCK_BALANCES.replace("%s", "?"), [array(ids), *map(array, columns)])

    def _notify(self, balance: int) -> None:
        self.run("SELECT pg_notify(?, ?)", (sql.RECALL_CHANNEL, str(balance)))

    def interrupt(self, patience: float) -> None:
        since, connection = self._waiting_since, self._connection
        if since is None or connection is None or time.monotonic() - since < patience:
            return
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)  # the thread that waits on it gets an end of file

    def _roll_back(self) -> None:
        if self._connection is not None and not self._connection.closed:
            try:
                self.run("ROLLBACK")
            except (ConnectionLost, BadRow, Conflict):
                self.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        try:
            yield
        except psycopg.Error as error:
            _raise(error)
        finally:
            self._waiting_since = None


def _raise(error: psycopg.Error) -> None:
    """Tells a conflict and a bad row, of which nothing was committed, from a connection whose COMMIT is unknown."""
    if error.sqlstate == MONTH_CLOSED:
        raise _MonthClosed(str(error)) from error
    if error.sqlstate in RETRIED:
        raise Conflict(str(error)) from error
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError | psycopg.ProgrammingError):
        raise BadRow(str(error)) from error
    raise ConnectionLost(str(error)) from error


def _columns(bookings: Sequence[Booking]) -> list[str]:
    return [array(column) for column in zip(*map(_row, bookings), strict=True)]


def _holders(bookings: Sequence[Booking]) -> list[tuple[int, str]]:
    return sorted((balance, f"{booking.boot_id}:{booking.id.hex}") for booking in bookings for balance in booking.last_cents)


def _row(booking: Booking) -> tuple[object, ...]:
    facts = booking.facts
    return (
        booking.id.hex, booking.at.isoformat(), "request", facts.ended, booking.boot_id, str(list(booking.balances)), facts.user_id,
        facts.token_id, facts.channel_id, facts.key_id, facts.group, facts.endpoint, facts.model, facts.model_served, facts.stream,
        facts.counted, facts.input_tokens, facts.output_tokens, facts.amount, 0, facts.upstream_cost, facts.status, facts.duration_ms,
        facts.first_token_ms, facts.upstream_request_id, facts.client_ip, facts.detail,
    )  # fmt: skip
