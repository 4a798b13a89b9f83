"""The database's clock, by which the ledger dates charges and chooses periods and months."""

import time

from django.db import connection


def database_time() -> float:
    """Unix time by the database; on SQLite, which has none, by this machine."""
    if connection.vendor != "postgresql":
        return time.time()
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())")
        return float(cursor.fetchone()[0])
