"""A Watch on the test database, that database going away for a while, and a command in another process on it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from django.db import connection
from psycopg import sql

from gateway.snapshot import Snapshots
from gateway.watch import Watch
from tests.gateway.stored import run_sql
from tests.orm import in_thread

ROOT = Path(__file__).resolve().parent.parent.parent


@asynccontextmanager
async def watching() -> AsyncIterator[Snapshots]:
    """What a relay process holds, kept in step."""
    snapshots = Snapshots()
    watch = Watch(snapshots)
    await watch.start()
    try:
        yield snapshots
    finally:
        await watch.stop()


def database_url() -> str:
    """The test database, for another process."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    owner = quote(values["USER"]) + (f":{quote(values['PASSWORD'])}" if values["PASSWORD"] else "")
    return f"postgres://{owner}@{values['HOST']}:{values['PORT']}/{values['NAME']}"


async def manage(*words: str) -> None:
    """A command of the operator, in a process of its own."""

    def run() -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DATABASE_URL": database_url(), "DJANGO_SETTINGS_MODULE": "oneapi_site.settings"}
        return subprocess.run([sys.executable, ROOT / "manage.py", *words], env=environment, capture_output=True, text=True, check=False)

    done = await asyncio.to_thread(run)
    assert done.returncode == 0, done.stdout + done.stderr


def _elsewhere() -> "psycopg.Connection[Any]":
    """A connection to the server, but not to the test database."""
    values = connection.settings_dict
    return psycopg.connect(
        host=values["HOST"], port=values["PORT"], user=values["USER"], password=values["PASSWORD"] or None, dbname="postgres", autocommit=True
    )


def cut_connections() -> None:
    """PostgreSQL ends all connections to the test database, as at its restart."""
    with _elsewhere() as server:
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [connection.settings_dict["NAME"]])


@contextmanager
def _away() -> Iterator[None]:
    if connection.vendor == "sqlite":  # a file cannot refuse a connection, but its feed can fail
        run_sql("ALTER TABLE gateway_changecounter RENAME TO away")
        try:
            yield
        finally:
            run_sql("ALTER TABLE away RENAME TO gateway_changecounter")
        return
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    name = sql.Identifier(connection.settings_dict["NAME"])
    with _elsewhere() as server:
        server.execute(allow.format(name, sql.SQL("false")))
        cut_connections()
        try:
            yield
        finally:
            server.execute(allow.format(name, sql.SQL("true")))


@asynccontextmanager
async def database_away() -> AsyncIterator[None]:
    """The snapshot's database fails meanwhile."""
    context = _away()
    await in_thread(context.__enter__)
    try:
        yield
    finally:
        await in_thread(context.__exit__, None, None, None)
