"""What a request would cost, asked with the caller's own key: the figure of the charge itself, and nothing about channels."""

import json
from typing import Any

import pytest
from hypothesis import given

from billing.price_rules import Terms
from billing.pricing import charge
from billing.quote import quote, quote_inside
from gateway.asgi import RelayApp
from tests.billing.test_price_arithmetic import prices, ratios, usages
from tests.gateway.asgi_client import Answer, Client, run, scope_of
from tests.gateway.in_memory import relay_app
from tests.gateway.known import KEY


async def ask(query: str, key: str = KEY, app: RelayApp | None = None) -> Answer:
    client = Client([b""])
    scope = scope_of("GET", "/dashboard/billing/price", {"Authorization": f"Bearer {key}"}, "192.0.2.1")
    scope["query_string"] = query.encode()
    await run(app or relay_app(), scope, client.receive, client.send)
    return client.answer()


async def test_the_charge_is_spelled_out() -> None:
    answer = await ask("model=gpt-4o&input=1000&output=100")

    said: dict[str, Any] = answer.json()
    assert answer.status == 200
    assert (said["object"], said["model"], said["group"], said["usage"]["requests"]) == ("price", "gpt-4o", "default", 1)
    assert said["cheapest"] == said["dearest"]
    assert (said["dearest"]["usd"], said["dearest"]["amount_nanodollars"], said["dearest"]["ratio_ppm"]) == ("0.00021", 210_000, 1_000_000)
    assert [(line["bucket"], line["units"], line["usd"]) for line in said["dearest"]["lines"]] == [
        ("input", 1000, "0.00015"), ("output", 100, "0.00006")
    ]  # fmt: skip


async def test_nothing_is_said_of_channels_and_their_cost() -> None:
    body = (await ask("model=gpt-4o&input=1")).body.decode()

    assert "channel" not in body
    assert "cost" not in body


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("", 400, "model"),
        ("input=5", 400, "model"),
        ("model=gpt-4o&input=-5", 400, "input"),
        ("model=gpt-4o&output=1.5", 400, "output"),
        ("model=gpt-4o&cached=9999999999999999999", 400, "cached"),
        ("model=gpt-4o&inputs=5", 400, "inputs"),
        ("model=gpt-4o&input=%FF", 400, "input"),
        ("model", 400, "query"),
        ("&".join(f"a{number}=1" for number in range(100)), 400, "query"),
        ("model=nobody&input=5", 404, "nobody"),
    ],
)
async def test_a_bad_question_is_answered_with_a_sentence(query: str, status: int, word: str) -> None:
    answer = await ask(query)

    assert answer.status == status
    assert word in answer.error()["message"]


async def test_it_takes_a_key() -> None:
    assert (await ask("model=gpt-4o", key="sk-unknown")).status == 401


@given(price=prices, cost=prices, ratio=ratios, usage=usages)
def test_the_sum_is_that_of_the_charge(price: Any, cost: Any, ratio: int, usage: Any) -> None:
    said = quote_inside(Terms(price, ratio, cost), usage)

    assert said["amount_nanodollars"] == charge(price, usage, ratio).amount >= 0
    assert said["cost_nanodollars"] == charge(cost, usage, 1_000_000).amount >= 0
    assert quote(Terms(price, ratio, cost), usage) == {name: value for name, value in said.items() if not name.startswith(("cost", "margin"))}
    assert json.loads(json.dumps(said)) == said
