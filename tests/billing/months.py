"""Charges of past months, booked by the ledger's own connection."""

import datetime

from django.db import connection

from billing.ledger.postgres import PostgresStore
from billing.ledger.records import Booking, time_of, uuid7
from billing.ledger.reserve import LedgerConfig
from billing.ledger.sqlite import SQLiteStore
from billing.ledger.store import Store
from billing.months import start_of
from billing.partitions import create_partitions
from tests.billing.ledger.conftest import facts

MONTH = datetime.date(2026, 5, 1)
"""A month that ended long ago."""


def store_of(config: LedgerConfig, boot_id: str = "a" * 32, slot: int = 0) -> Store:
    """A connected and registered process."""
    store = (SQLiteStore if config.sqlite else PostgresStore)(config.database, boot_id, slot)
    store.connect()
    store.register("here")
    return store


def booking(balance: int, amount: int, month: datetime.date | None = MONTH, boot_id: str = "gone", **changes: object) -> Booking:
    """A charge in the middle of a month; None: now."""
    at = datetime.datetime.now(tz=datetime.UTC) if month is None else start_of(month) + datetime.timedelta(days=14)
    identity = uuid7(int(at.timestamp() * 1000))
    return Booking(identity, time_of(identity), boot_id, (balance,), facts(amount, **changes))


def partitions_from(month: datetime.date) -> None:
    """The usage log's partitions as if it had been set up that month; SQLite has none."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            create_partitions(cursor, month)
