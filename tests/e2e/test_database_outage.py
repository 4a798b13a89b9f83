"""The database falls silent, or goes away and comes back: what was served is booked once, new requests are told to come again. On PostgreSQL."""

import resource
import time

import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, audit, await_key, client, until
from tests.e2e.crowd import load, one_by_one, query, settled, web_processes
from tests.server import create_server
from tests.silent_proxy import before

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outage(services, simulator, tmp_path_factory):
    """(server, proxy): two relay processes whose database is behind the proxy; operators' commands go there directly."""
    server = create_server(tmp_path_factory.mktemp("outage"), "postgres", WEB_CONCURRENCY="2")
    direct = server.database_url
    with before(direct) as (proxy, url):
        server.env["DATABASE_URL"] = url
        server.env["DIRECT_DATABASE_URL"] = direct
        server.start()
        server.env["DATABASE_URL"] = direct
        add_channel(server, simulator.url)
        yield server, proxy
        server.kill()


@pytest.fixture(scope="module")
def key(outage):
    """An administrator's: unlimited."""
    return await_key(outage[0], add_token(outage[0]))


def living(server):
    return {boot for (boot,) in query(server, "SELECT boot_id FROM billing_process WHERE NOT fenced")}


@pytest.mark.parametrize("trouble", ["fall_silent", "cut"])
def test_what_was_served_is_booked_and_nothing_is_lost(outage, upstream, key, trouble):
    server, proxy = outage
    charges, served, alive = audit(server)["charges"], upstream.served, living(server)
    with load(server, key) as crowd:
        crowd.await_more(40)
        getattr(proxy, trouble)()
        until(lambda: 503 in crowd.statuses, 30)
        time.sleep(12)  # longer than any wait of the writer
        proxy.forward()
        crowd.await_more(20)
    until(lambda: upstream.open == 0)
    found = settled(server)
    assert crowd.delivered <= found["charges"] - charges <= upstream.served + upstream.aborted - served
    assert living(server) == alive
    assert found["journal_pending"] == 0


def test_the_end_of_an_answer_waits_no_longer_than_the_journal(outage, upstream, key):
    server, proxy = outage
    charges = audit(server)["charges"]
    upstream.fault(model=MODEL, slow_first=0.5)
    with client(server, key) as http:
        until(lambda: http.get("/v1/models").status_code == 200)
        asked = time.monotonic()
        proxy.fall_silent()
        answer = http.post("/v1/chat/completions", json=EXACT)
        took = time.monotonic() - asked
        until(lambda: http.post("/v1/chat/completions", json=EXACT).status_code == 503, 20)
        refused = http.post("/v1/chat/completions", json=EXACT)
    proxy.forward()
    upstream.reset()
    assert answer.status_code == 200
    assert 2 <= took < 8
    assert int(refused.headers["retry-after"]) >= 1
    until(lambda: set(one_by_one(server, key, 4)) == {200}, 40)
    assert settled(server)["charges"] - charges >= 5


def test_the_end_is_not_sent_where_neither_takes_the_charge(outage, upstream, key):
    server, proxy = outage
    alike = [(pid, resource.prlimit(pid, resource.RLIMIT_FSIZE)) for pid in web_processes(server)]
    for pid, (_, hard) in alike:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20, hard))  # a full disk, for the journal
    try:
        with client(server, key) as http:
            until(lambda: http.get("/v1/models").status_code == 200)
            upstream.fault(model=MODEL, slow_first=0.5)
            proxy.fall_silent()
            answer = http.post("/v1/chat/completions", json={**EXACT, "stream": True})
    finally:
        for pid, limits in alike:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        proxy.forward()
    upstream.reset()
    assert "[DONE]" not in answer.text
    until(lambda: set(one_by_one(server, key, 4)) == {200}, 40)
    settled(server)
