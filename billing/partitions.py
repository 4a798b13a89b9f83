"""The usage table on PostgreSQL: partitioned by month with the primary key (at, id), so that a replay after a month's end conflicts too.

Partitions stand two months ahead; a DEFAULT one takes what falls outside them. Called by the first migration and by a periodic task.
https://www.postgresql.org/docs/15/ddl-partitioning.html
"""

import datetime
from typing import Any

from django.db import transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper

TABLE = "billing_usagerecord"
AHEAD = 2


def month_after(month: datetime.date, count: int = 1) -> datetime.date:
    """The first day of the month `count` months later."""
    index = month.year * 12 + month.month - 1 + count
    return datetime.date(index // 12, index % 12 + 1, 1)


def create_partitions(cursor: CursorWrapper, today: datetime.date) -> list[str]:
    """Creates the partitions from this month to AHEAD months ahead (UTC months); gives back the names of the new ones."""
    created = []
    first = today.replace(day=1)
    for count in range(AHEAD + 1):
        start, end = month_after(first, count), month_after(first, count + 1)
        name = f"{TABLE}_{start:%Y_%m}"
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0] is None:
            _create(cursor, name, f"'{start} 00:00:00+00'", f"'{end} 00:00:00+00'")
            created.append(name)
    return created


def _create(cursor: CursorWrapper, name: str, start: str, end: str) -> None:
    """With the rows of its month that are in the DEFAULT partition: PostgreSQL makes no partition while they are there."""
    with transaction.atomic():
        cursor.execute(f"LOCK TABLE {TABLE}_default IN ACCESS EXCLUSIVE MODE")
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING ALL)")
        cursor.execute(
            f"WITH strays AS (DELETE FROM {TABLE}_default WHERE at >= {start} AND at < {end} RETURNING *) INSERT INTO {name} SELECT * FROM strays"  # noqa: S608
        )
        cursor.execute(f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})")


def partitions_through(cursor: CursorWrapper, month: datetime.date) -> list[str]:
    """The partitions of that month and of older ones, the oldest first; the DEFAULT one is none of them."""
    cursor.execute("SELECT relname FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = %s::regclass", [TABLE])
    names = {name for (name,) in cursor.fetchall()} - {f"{TABLE}_default"}
    return sorted(name for name in names if name <= f"{TABLE}_{month:%Y_%m}")


def lock_month(cursor: CursorWrapper, month: datetime.date) -> None:
    """Until the transaction ends no charge of this month or an older one is written and none refunded; it waits for those under way."""
    tables = [*partitions_through(cursor, month), f"{TABLE}_default"]
    cursor.execute(f"LOCK TABLE {', '.join(tables)} IN SHARE ROW EXCLUSIVE MODE")


def drop_partition(cursor: CursorWrapper, name: str) -> None:
    """In a transaction; locks the whole table. OperationalError where others use it for longer than a moment."""
    cursor.execute("SET LOCAL lock_timeout = '200ms'")
    cursor.execute(f"ALTER TABLE {TABLE} DETACH PARTITION {name}")
    cursor.execute(f"DROP TABLE {name}")


def strays(cursor: CursorWrapper) -> int:
    """Rows in the DEFAULT partition: a month's own one was missing when they came."""
    cursor.execute(f"SELECT count(*) FROM {TABLE}_default")  # noqa: S608  a constant
    return int(cursor.fetchone()[0])


def create_usage_table(apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    """Migration step: the usage table as the model says on SQLite; partitioned on PostgreSQL."""
    model = apps.get_model("billing", "UsageRecord")
    if editor.connection.vendor != "postgresql":
        editor.create_model(model)
        return
    create, params = editor.table_sql(model)
    create = create.replace('"id" uuid NOT NULL PRIMARY KEY', '"id" uuid NOT NULL')
    assert create.endswith(")"), create  # noqa: S101  a migration must stop where Django writes the statement otherwise
    editor.execute(f'{create[:-1]}, PRIMARY KEY ("at", "id")) PARTITION BY RANGE ("at")', params or None)
    editor.execute(f"CREATE TABLE {TABLE}_default PARTITION OF {TABLE} DEFAULT")
    editor.deferred_sql.extend(editor._model_indexes_sql(model))  # type: ignore[attr-defined]  # Django's own names of the indexes
    with editor.connection.cursor() as cursor:
        create_partitions(cursor, datetime.datetime.now(tz=datetime.UTC).date())


def drop_usage_table(apps: Any, editor: BaseDatabaseSchemaEditor) -> None:
    """The way back."""
    editor.execute(f"DROP TABLE {TABLE}")
