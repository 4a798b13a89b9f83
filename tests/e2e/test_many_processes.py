"""Four relay processes behind one port share balances exactly, also when some of them are killed or stopped. On PostgreSQL.

KILLS and KILL_SEED say how many are killed under load, and which; script/soak sets them.
"""

import os
import random
import signal
import threading

import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, audit, await_key, client, price_of_exact, until
from tests.e2e.crowd import at_once, funded, load, one_by_one, query, settled, web_processes
from tests.server import start_server

pytestmark = pytest.mark.slow
PROCESSES = 4
chance = random.Random(os.environ.get("KILL_SEED"))


@pytest.fixture(scope="module")
def four(services, simulator, tmp_path_factory):
    """A server of four relay processes whose one channel is the simulator."""
    server = start_server(tmp_path_factory.mktemp("four"), "postgres", WEB_CONCURRENCY=str(PROCESSES))
    add_channel(server, simulator.url)
    until(lambda: len(web_processes(server)) == PROCESSES == living(server), 60)
    yield server
    server.kill()


@pytest.fixture
def booked(four):
    """Charges booked since the test began."""
    before = audit(four)["charges"]
    return lambda: settled(four)["charges"] - before


@pytest.fixture(scope="module")
def key(four):
    """An administrator's: unlimited."""
    return await_key(four, add_token(four))


def living(server):
    """Processes that are registered and not fenced."""
    return query(server, "SELECT count(*) FROM billing_process WHERE NOT fenced")[0][0]


def test_a_balance_for_ten_gives_exactly_ten_of_five_hundred_at_once(four, upstream, booked):
    key = funded(four, "ten-of-four", 10 * price_of_exact(four))
    statuses = at_once(four, key, 500)
    assert statuses.count(200) == 10
    assert statuses.count(403) == 490
    assert booked() == 10


def test_who_asks_every_process_in_turn_gets_all_that_was_paid_for(four, upstream, booked):
    key = funded(four, "wanderer", 500 * price_of_exact(four))
    assert set(one_by_one(four, key, 500)) == {200}
    assert one_by_one(four, key, 1) == [403]
    assert booked() == 500


def test_kill_9_of_one_in_the_middle_gives_at_most_ten_and_then_exactly_ten(four, upstream, booked):
    key = funded(four, "killed", 10 * price_of_exact(four))
    upstream.fault(model=MODEL, slow_first=1.0)
    killer = threading.Timer(0.6, lambda: os.kill(chance.choice(web_processes(four)), signal.SIGKILL))
    killer.start()
    delivered = at_once(four, key, 200).count(200)
    upstream.reset()
    assert delivered <= 10
    until(lambda: len(web_processes(four)) == PROCESSES == living(four), 30)
    until(lambda: one_by_one(four, key, 1) == [403], 30)
    assert booked() == 10


def test_random_kills_under_load(four, upstream, booked, key):
    served = upstream.served
    with load(four, key) as crowd:
        for _ in range(int(os.environ.get("KILLS", "3"))):
            crowd.await_more(30)
            os.kill(chance.choice(web_processes(four)), signal.SIGKILL)
            until(lambda: len(web_processes(four)) == PROCESSES, 30)
    until(lambda: upstream.open == 0)
    assert crowd.delivered <= booked() <= upstream.served + upstream.aborted - served


def test_a_process_that_stood_still_is_fenced_and_charges_what_it_had_in_flight(four, upstream, booked, key):
    upstream.fault(model=MODEL, stall_after=2)
    texts = []

    def stream():
        with client(four, key) as http:
            texts.append(http.post("/v1/chat/completions", json={**EXACT, "stream": True}).text)

    streams = [threading.Thread(target=stream) for _ in range(8)]
    for one in streams:
        one.start()
    until(lambda: upstream.open == 8)
    before = {boot for (boot,) in query(four, "SELECT boot_id FROM billing_process WHERE NOT fenced")}
    victim = web_processes(four)[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        until(lambda: living(four) == PROCESSES - 1, 40)
    finally:
        os.kill(victim, signal.SIGCONT)
    upstream.reset()
    for one in streams:
        one.join(60)
    assert all(text.rstrip().endswith("data: [DONE]") for text in texts)
    until(lambda: living(four) == PROCESSES)
    after = {boot for (boot,) in query(four, "SELECT boot_id FROM billing_process WHERE NOT fenced")}
    assert len(before & after) == PROCESSES - 1
    assert booked() == 8
    assert set(one_by_one(four, key, 12)) == {200}
