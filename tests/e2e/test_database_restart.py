"""PostgreSQL stops, or dies, and is started again under load: what was delivered is booked, nothing twice, and the same processes go on."""

import signal
import time

import pytest

from tests.e2e.arrange import add_channel, add_token, audit, await_key, until
from tests.e2e.crowd import load, one_by_one, query, settled
from tests.server import start_server
from tests.services import postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def restarted(simulator, tmp_path_factory):
    """(server, database): two relay processes on a PostgreSQL of their own."""
    with postgres() as database:
        server = start_server(tmp_path_factory.mktemp("restart"), "postgres", fresh=True, DATABASE_URL=database.url, WEB_CONCURRENCY="2")
        add_channel(server, simulator.url)
        yield server, database
        server.kill()


def living(server):
    return {boot for (boot,) in query(server, "SELECT boot_id FROM billing_process WHERE NOT fenced")}


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "died"])
def test_what_was_delivered_is_booked_and_the_processes_go_on(restarted, upstream, how):
    server, database = restarted
    key = await_key(server, add_token(server, "admin", how.name))
    charges, served, alive = audit(server)["charges"], upstream.served, living(server)
    with load(server, key) as crowd:
        crowd.await_more(40)
        database.stop(how)
        until(lambda: 503 in crowd.statuses, 30)
        time.sleep(2)
        database.start()
        crowd.await_more(20)
    until(lambda: upstream.open == 0)
    found = settled(server)
    assert crowd.delivered <= found["charges"] - charges <= upstream.served + upstream.aborted - served
    assert found["journal_pending"] == 0
    assert living(server) == alive
    assert set(one_by_one(server, key, 4)) == {200}
