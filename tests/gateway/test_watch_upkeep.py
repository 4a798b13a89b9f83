"""The feed is kept for an hour, the loop is not held up by a full load, and nothing is left behind."""

import asyncio
import datetime
import threading
import weakref

import pytest
from django.db import connection
from django.utils import timezone

from gateway import snapshot_loader
from gateway.models import Change, Token
from gateway.snapshot import Snapshot, Snapshots
from gateway.watch import Watch, prune
from tests.gateway.stored import channel, issue, run_sql, seen
from tests.gateway.watching import watching
from tests.orm import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


def connections_of_others() -> int:
    if connection.vendor == "sqlite":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        return int(cursor.fetchone()[0])


def test_changes_of_more_than_an_hour_ago_are_forgotten() -> None:
    issue()
    Change.objects.update(at=timezone.now() - datetime.timedelta(minutes=61))
    before = snapshot_loader.version()
    Token.objects.update(enabled=False)

    assert prune() >= 1

    assert list(Change.objects.values_list("version", flat=True)) == [before + 1]
    assert snapshot_loader.load_since(before) is not None


def test_a_process_that_knows_all_that_was_forgotten_misses_nothing() -> None:
    issue()
    known = snapshot_loader.version()
    Change.objects.update(at=timezone.now() - datetime.timedelta(hours=2))

    prune()

    assert not Change.objects.exists()
    assert snapshot_loader.load_since(known) is None


async def test_all_reading_is_done_in_one_thread_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, the index of channels and a whole new snapshot are made where the loop does not wait for them."""
    threads: set[int] = set()
    for name in ("_tokens", "_upstreams", "version"):
        monkeypatch.setattr(snapshot_loader, name, noting(getattr(snapshot_loader, name), threads))
    monkeypatch.setattr(Snapshot, "places_after", noting(Snapshot.places_after, threads))
    async with watching() as snapshots:
        row = await in_thread(channel)
        await seen(lambda: row.pk in snapshots.current.upstreams)
        monkeypatch.setattr(snapshot_loader, "MANY", -1)
        before = snapshots.current
        await in_thread(issue)
        await seen(lambda: len(snapshots.current.tokens) == 1)
        assert snapshots.current is not before

    assert len(threads) == 1
    assert threading.get_ident() not in threads


def noting(work, threads):
    def noted(*arguments, **named):
        threads.add(threading.get_ident())
        return work(*arguments, **named)

    return noted


async def test_a_large_bulk_change_is_taken_in_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_loader, "MANY", 10)
    await in_thread(lambda: [issue(f"t{number}") for number in range(20)])
    async with watching() as snapshots:
        before = weakref.ref(snapshots.current)

        await in_thread(lambda: Token.objects.update(unlimited=False))

        await seen(lambda: not any(row.unlimited for row in snapshots.current.tokens.values()))
        assert len(snapshots.current.tokens) == 20
        await seen(lambda: before() is None)  # nothing keeps the old state in memory


async def test_no_connection_and_no_thread_is_left() -> None:
    existing = await in_thread(connections_of_others)
    async with watching():
        await asyncio.sleep(0.3)

    await in_thread(run_sql, "SELECT 1")
    for _ in range(400):  # a server takes a moment to notice that a client has gone
        if await in_thread(connections_of_others) <= existing:
            break
        await asyncio.sleep(0.05)

    assert await in_thread(connections_of_others) <= existing
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("snapshot") and thread.is_alive()]


async def test_the_reading_thread_keeps_its_connection() -> None:
    """Polling opens no connection each time."""
    opened = []
    watch = Watch(Snapshots())
    await watch.start()
    try:
        for _ in range(5):
            await watch.refresh()
            opened.append(await watch._in_thread(lambda: id(connection.connection)))
    finally:
        await watch.stop()

    assert len(set(opened)) == 1
