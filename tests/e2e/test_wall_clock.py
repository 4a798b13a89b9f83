"""The wall clock of the relay's machine jumps, forwards and back, under load: no money moves, nobody is fenced, charges keep the database's time."""

from datetime import timedelta

import pytest

from tests.e2e.arrange import add_channel, add_token, audit, await_key, until
from tests.e2e.crowd import load, one_by_one, query, settled
from tests.faketime import Clock
from tests.server import start_server

pytestmark = pytest.mark.slow


def test_a_moved_wall_clock_costs_nobody_anything(services, upstream, tmp_path):
    clock = Clock(tmp_path)
    server = start_server(tmp_path, "postgres", **clock.env)
    try:
        add_channel(server, upstream.url)
        key = await_key(server, add_token(server))
        charges, served = audit(server)["charges"], upstream.served
        alive = query(server, "SELECT boot_id FROM billing_process WHERE NOT fenced")
        with load(server, key) as crowd:
            for jump in (timedelta(days=40), timedelta(days=-40), timedelta(0)):
                clock.move(jump)
                crowd.await_more(100)
        until(lambda: upstream.open == 0)
        found = settled(server)
        assert crowd.statuses == {200}
        assert crowd.delivered <= found["charges"] - charges <= upstream.served + upstream.aborted - served
        assert query(server, "SELECT boot_id FROM billing_process WHERE NOT fenced") == alive
        clock.move(timedelta(days=40))
        until(lambda: dated_by_the_database(server, key), 10)
    finally:
        server.kill()


def dated_by_the_database(server, key):
    """Whether a charge made now has the database's time, not the relay's: the next beat measures how far they are apart."""
    assert one_by_one(server, key, 1) == [200]
    just_now = "at BETWEEN now() - interval '3 seconds' AND now() + interval '3 seconds'"
    return query(server, f"SELECT count(*) FROM billing_usagerecord WHERE {just_now}") != [(0,)]
