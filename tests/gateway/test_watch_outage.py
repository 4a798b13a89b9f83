"""While the database is away the last snapshot serves; when it is back, what changed is known again."""

import asyncio

import pytest
from django.db import Error, connection
from structlog.testing import capture_logs

from gateway.models import Token
from gateway.snapshot import Snapshots
from gateway.watch import Watch
from tests.gateway.stored import issue, seen
from tests.gateway.watching import cut_connections, database_away, watching
from tests.orm import in_thread

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_connection_of_the_test(transactional_db: None) -> None:
    """A connection of the test's own would be cut too, and be found broken at the clean-up."""
    connection.close()


async def test_the_last_snapshot_serves_through_an_outage() -> None:
    token, _ = await in_thread(issue)
    async with watching() as snapshots:
        with capture_logs() as logs:
            async with database_away():
                await seen(lambda: any(entry["event"] == "snapshot.database_away" for entry in logs))
                await asyncio.sleep(1)
                assert [row.id for row in snapshots.current.tokens.values()] == [token.pk]

            await in_thread(lambda: Token.objects.update(enabled=False))
            await seen(lambda: not snapshots.current.tokens[token.key_hash].enabled)

    assert [entry["event"] for entry in logs].count("snapshot.database_away") == 1  # it is said once, not with every attempt


async def test_connections_that_break_are_made_anew() -> None:
    token, _ = await in_thread(issue)
    async with watching() as snapshots:
        for enabled in (False, True, False):
            if await in_thread(lambda: connection.vendor) == "postgresql":
                await in_thread(cut_connections)
            await in_thread(lambda wanted: Token.objects.update(enabled=wanted), enabled)

            await seen(lambda wanted=enabled: snapshots.current.tokens[token.key_hash].enabled is wanted)  # type: ignore[misc]


async def test_a_row_that_fails_does_not_end_the_feed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong with one reading, the next is tried."""
    token, _ = await in_thread(issue)
    async with watching() as snapshots:
        with monkeypatch.context() as broken, capture_logs() as logs:
            broken.setattr("gateway.snapshot_loader._tokens", lambda ids: 1 / 0)
            await in_thread(lambda: Token.objects.update(enabled=False))
            await seen(lambda: any(entry["event"] == "snapshot.failed" for entry in logs))
            assert snapshots.current.tokens[token.key_hash].enabled

        await seen(lambda: not snapshots.current.tokens[token.key_hash].enabled)


async def test_a_start_without_a_database_fails() -> None:
    watch = Watch(Snapshots())
    async with database_away():
        with pytest.raises(Error):
            await watch.start()
    await watch.stop()
