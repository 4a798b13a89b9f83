"""Exact money through the real server: balances, retries, endings, hostile usage, and `kill -9`. On both databases."""

import datetime
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, add_user, audit, await_key, client, price_of_exact, until

pytestmark = pytest.mark.slow
HOSTILE = [
    {"prompt_tokens": -5, "completion_tokens": -9},
    {"prompt_tokens": 2**63, "completion_tokens": 1},
    {"prompt_tokens": "20"},
    {"prompt_tokens": 1.5, "completion_tokens": 2},
    [],
    {"input_tokens": 5, "cache_read_input_tokens": -300, "output_tokens": 5},
    {"promptTokenCount": 5, "cachedContentTokenCount": 6, "candidatesTokenCount": 1},
]


@pytest.fixture(scope="module")
def ready(server, simulator):
    """A server whose one channel is the simulator."""
    add_channel(server, simulator.url)
    return server


@pytest.fixture(scope="module")
def key(ready):
    """An administrator's key: unlimited, so that only what is charged counts."""
    return await_key(ready, add_token(ready))


@pytest.fixture
def booked(ready):
    """(charges, nano-dollars) booked since the test began; the audit must be clean."""
    before = audit(ready)

    def since() -> tuple[int, int]:
        now = audit(ready)
        assert now["ok"], now["differences"]
        return now["charges"] - before["charges"], now["charged_nanodollars"] - before["charged_nanodollars"]

    return since


def funded(server, name, nano):
    """A user with so much money and an unlimited token; the key."""
    add_user(server, name, f"{nano / 10**9:.9f}")
    return add_token(server, name)


def test_a_balance_for_ten_gives_exactly_ten_of_two_hundred_at_once(ready, booked):
    price = price_of_exact(ready)
    key = funded(ready, "ten", 10 * price)
    with client(ready, key, limits=httpx.Limits(max_connections=200)) as http, ThreadPoolExecutor(200) as pool:
        until(lambda: http.get("/v1/models").status_code == 200)
        answers = list(pool.map(lambda _: http.post("/v1/chat/completions", json=EXACT), range(200)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) == 10
    assert statuses.count(403) == 190
    assert booked() == (10, 10 * price)
    refusal = next(answer.json() for answer in answers if answer.status_code == 403)
    assert refusal["error"]["code"] == "insufficient_user_quota"


def test_a_token_limit_holds_as_a_balance_does(ready, booked):
    price = price_of_exact(ready)
    add_user(ready, "limited", "5")
    key = add_token(ready, "limited", "three", "--usd", f"{3 * price / 10**9:.9f}")
    with client(ready, key) as http, ThreadPoolExecutor(40) as pool:
        until(lambda: http.get("/v1/models").status_code == 200)
        statuses = list(pool.map(lambda _: http.post("/v1/chat/completions", json=EXACT).status_code, range(40)))
    assert statuses.count(200) == 3
    assert booked() == (3, 3 * price)


def test_a_budget_holds_for_who_is_unlimited_and_says_when_it_begins_anew(ready, booked):
    price = price_of_exact(ready)
    ready.manage("user", "add", "--user", "budgeted", "--group", "default", "--unlimited")
    ready.manage("budget", "set", "--user", "budgeted", "--day", f"{3 * price / 10**9:.9f}", "--month", "100")
    key = await_key(ready, add_token(ready, "budgeted"))
    with client(ready, key) as http, ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/chat/completions", json=EXACT), range(40)))
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert [answer.status_code for answer in answers].count(200) == 3
        assert refused.json()["error"]["code"] == "budget_exhausted"
        assert "Your daily budget is used up." in refused.json()["error"]["message"]
        assert 0 < int(refused.headers["retry-after"]) <= 25 * 3600
        assert booked() == (3, 3 * price)
        ready.manage("budget", "set", "--user", "budgeted", "--day", "none")
        until(lambda: http.post("/v1/chat/completions", json=EXACT).status_code == 200)
    rows = json.loads(ready.manage("budget", "list", "--user", "budgeted", "--json").stdout)
    assert [(row["period"], 100 * 10**9 - row["remaining_nanodollars"]) for row in rows] == [("month", 4 * price)]


def test_a_price_rule_changes_the_charge_and_a_scheduled_one_at_its_moment(ready, upstream, booked, key):
    add_channel(ready, upstream.url, name="ruled", models="ruled", mapping=json.dumps({"ruled": MODEL}))
    ready.manage("price", "set", "--model", "ruled", "--input", "1", "--output", "2")
    ready.manage("price", "set", "--model", "ruled", "--ratio", "50", "--group", "default")
    soon = datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(seconds=4)
    ready.manage("price", "set", "--model", "ruled", "--input", "3", "--output", "3", "--group", "default", "--from", soon.isoformat())
    await_key(ready, key, "ruled")
    with client(ready, key) as http:

        def quoted():
            answer = http.get("/dashboard/billing/price", params={"model": "ruled", "input": 20, "output": 15})
            return answer.json().get("dearest", {}).get("amount_nanodollars")

        until(lambda: quoted() in {25_000, 105_000})
        cheap = http.post("/v1/chat/completions", json={**EXACT, "model": "ruled"})
        assert cheap.status_code == 200
        first = booked()
        until(lambda: quoted() == 105_000)
        assert http.post("/v1/chat/completions", json={**EXACT, "model": "ruled"}).status_code == 200
    assert first in {(1, 25_000), (1, 105_000)}  # a slow machine may have passed the moment already
    assert booked() == (2, first[1] + 105_000)


def test_what_is_not_served_costs_nothing_and_a_retry_is_charged_once(ready, upstream, booked, key):
    price = price_of_exact(ready)
    add_channel(ready, upstream.url, name="spare", models="retried", mapping=json.dumps({"retried": MODEL}))
    add_channel(ready, upstream.url, name="first", models="retried", priority=5, mapping=json.dumps({"retried": "gpt-4o"}))
    with client(ready, key) as http:
        until(lambda: "retried" in http.get("/v1/models").text)
        upstream.fault(model="gpt-4o", status=500)
        answer = http.post("/v1/chat/completions", json={**EXACT, "model": "retried"})
        assert answer.status_code == 200
        assert booked() == (1, price)
        upstream.fault(model=MODEL, status=429)
        refused = http.post("/v1/chat/completions", json={**EXACT, "model": "retried"})
        assert refused.status_code == 429
        assert booked() == (1, price)
    upstream.reset()


def test_hostile_usage_is_replaced_by_our_own_count(ready, upstream, booked, key):
    with client(ready, key) as http:
        for usage in HOSTILE:
            upstream.fault(model=MODEL, usage=usage)
            for stream in (False, True):
                assert http.post("/v1/chat/completions", json={**EXACT, "stream": stream}).status_code == 200
    upstream.reset()
    charges, amount = booked()
    assert charges == 2 * len(HOSTILE)
    assert 0 < amount <= 2 * charges * price_of_exact(ready)


def test_a_stream_without_usage_is_counted(ready, upstream, booked, key):
    upstream.fault(model=MODEL, no_usage=True)
    with client(ready, key) as http:
        answer = http.post("/v1/chat/completions", json={**EXACT, "stream": True})
        assert answer.text.rstrip().endswith("data: [DONE]")
    upstream.reset()
    charges, amount = booked()
    assert charges == 1
    assert amount > 0


def test_an_answer_cut_in_the_middle_is_charged_for_what_was_delivered(ready, upstream, booked, key):
    upstream.fault(model=MODEL, cut_after=2)
    with client(ready, key) as http:
        answer = http.post("/v1/chat/completions", json={**EXACT, "stream": True})
    upstream.reset()
    assert "[DONE]" not in answer.text
    assert '"error"' in answer.text
    charges, amount = booked()
    assert charges == 1
    assert 0 < amount < price_of_exact(ready) * 2


def test_an_abandoned_stream_is_charged_and_its_upstream_is_closed(ready, upstream, booked, key):
    upstream.fault(model=MODEL, stall_after=2)
    with client(ready, key) as http:
        until(lambda: http.get("/v1/models").status_code == 200)
        with http.stream("POST", "/v1/chat/completions", json={**EXACT, "stream": True}) as answer:
            next(answer.iter_lines())
    until(lambda: upstream.open == 0, 5)
    upstream.reset()
    until(lambda: booked()[0] == 1)
    assert booked()[1] > 0


def test_a_plain_request_whose_client_left_is_charged_as_done(ready, upstream, booked, key):
    upstream.fault(model=MODEL, slow_first=1.0)
    with client(ready, key) as http:
        until(lambda: http.get("/v1/models").status_code == 200)
        with pytest.raises(httpx.ReadTimeout):
            http.post("/v1/chat/completions", json=EXACT, timeout=0.3)
    until(lambda: booked()[0] == 1)
    upstream.reset()
    assert booked() == (1, price_of_exact(ready))


def test_kill_9_under_load_bills_every_delivered_answer(ready, upstream, booked, key):
    delivered = []
    stop = threading.Event()

    def work(_):
        with client(ready, key) as http:
            while not stop.is_set():
                try:
                    if http.post("/v1/chat/completions", json=EXACT).status_code == 200:
                        delivered.append(1)
                except httpx.HTTPError:
                    return

    with client(ready, key) as http:
        until(lambda: http.get("/v1/models").status_code == 200)
    served_before = upstream.served
    with ThreadPoolExecutor(16) as pool:
        running = [pool.submit(work, number) for number in range(16)]
        until(lambda: len(delivered) > 100, 60)
        ready.kill()
        stop.set()
        for one in running:
            one.result()
    ready.start()
    charges, amount = booked()
    assert len(delivered) <= charges <= upstream.served - served_before
    assert amount == charges * price_of_exact(ready)
    with client(ready, key) as http:
        assert http.post("/v1/chat/completions", json=EXACT).status_code == 200


def test_nothing_stays_reserved(ready, booked):
    rows = json.loads(ready.manage("audit", "--json").stdout)
    assert rows["ok"]
