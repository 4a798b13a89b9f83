"""A health test asks the real upstream once, and leaves its outcome in the channel's state and in the usage log, never in a balance."""

import json

import pytest

from billing.audit import audit
from billing.models import Balance, ModelPrice, UsageRecord
from channels_app import health
from channels_app.channels import add_channel, disable_channel
from channels_app.models import ChannelState
from tests.services import free_port
from tests.upstream.server import KEY

pytestmark = pytest.mark.django_db
MODEL = "gpt-4o-mini"


@pytest.fixture(autouse=True)
def prices():
    ModelPrice.objects.update_or_create(model=MODEL, defaults={"input": 150_000_000, "output": 600_000_000})


def added(url, **more):
    return add_channel("custom", "main", **{"base_url": url, "keys": [KEY], "models": [MODEL], **more})


def record():
    return UsageRecord.objects.get()


def test_a_channel_that_answers(upstream):
    made = added(upstream.url)
    outcome = health.test_channel(made)
    assert (outcome.error, outcome.model) == ("", MODEL)
    state = ChannelState.objects.get(channel=made, key=None)
    assert (state.response_ms, state.test_error) == (outcome.response_ms, "")
    assert state.tested_at is not None
    assert upstream.served == 1
    assert upstream.refused == []


def test_its_row_costs_nobody_and_says_what_it_cost_us(upstream):
    made = added(upstream.url)
    health.test_channel(made)
    row = record()
    assert row.id.version == 7
    assert (row.type, row.ended, row.status, row.amount, row.balances) == ("test", "done", 200, 0, [])
    assert (row.user_id, row.token_id, row.channel_id, row.key_id) == (0, 0, made.pk, made.keys.get().pk)
    assert (row.input_tokens, row.output_tokens, row.upstream_cost) == (20, 15, 20 * 150 + 15 * 600)
    assert (row.endpoint, row.model, row.model_served, row.stream) == ("chat/completions", MODEL, MODEL, False)
    assert row.detail["usage"] == {"input": 20, "output": 15}
    assert row.upstream_request_id.startswith("req_")
    assert not Balance.objects.exclude(available=0).exists()
    assert audit().ok
    assert audit().charges == 0


def test_the_price_is_that_of_the_model_at_the_upstream(upstream):
    ModelPrice.objects.update_or_create(model="gpt-4o", defaults={"input": 10**9, "output": 10**9})
    health.test_channel(added(upstream.url, mapping={MODEL: "gpt-4o"}))
    assert (record().model, record().model_served, record().upstream_cost) == (MODEL, "gpt-4o", 35_000)


@pytest.mark.parametrize("fault", [{"no_usage": True}, {"usage": {"prompt_tokens": -5, "completion_tokens": 10**30}}, {"usage": "many"}])
def test_usage_that_is_missing_or_impossible_costs_nothing(upstream, fault):
    upstream.fault(**fault)
    assert health.test_channel(added(upstream.url)).error == ""
    assert (record().ended, record().upstream_cost, record().input_tokens) == ("done", 0, 0)


@pytest.mark.parametrize(
    ("fault", "ended", "status"),
    [({"status": 500}, "failed", 500), ({"status": 401}, "failed", 401), ({"status": 400}, "failed", 400), ({"empty": True}, "empty", 200)],
)
def test_a_channel_that_fails(upstream, fault, ended, status):
    made = added(upstream.url)
    upstream.fault(**fault)
    outcome = health.test_channel(made)
    assert outcome.error
    assert ChannelState.objects.get(channel=made).test_error == outcome.error
    assert (record().type, record().ended, record().status, record().amount, record().upstream_cost) == ("test", ended, status, 0, 0)
    assert record().detail["error"] == outcome.error


def test_a_later_success_clears_the_error(upstream):
    made = added(upstream.url)
    upstream.fault(status=500, times=1)
    assert health.test_channel(made).error
    assert health.test_channel(made).error == ""
    assert ChannelState.objects.get(channel=made).test_error == ""


def test_nobody_listens():
    outcome = health.test_channel(added(f"http://127.0.0.1:{free_port()}"))
    assert outcome.error
    assert (record().ended, record().status) == ("failed", 0)


def test_the_error_shows_neither_key_nor_host(upstream):
    made = added(upstream.url)
    upstream.fault(status=401, error={"message": f"bad key {KEY} at {upstream.url}\x00\u0007"})
    outcome = health.test_channel(made)
    seen = outcome.error + ChannelState.objects.get(channel=made).test_error + json.dumps(record().detail)
    assert "bad key" in seen
    assert KEY not in seen
    assert upstream.host not in seen


def test_a_test_changes_nothing_but_what_was_observed(upstream):
    made = added(upstream.url)
    disable_channel(made)
    state = ChannelState.objects.create(channel=made, status="disabled", reason="dead")
    upstream.fault(status=401)
    health.test_channel(made)
    made.refresh_from_db()
    state.refresh_from_db()
    assert (made.enabled, state.status, state.reason) == (False, "disabled", "dead")


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gpt-4o-mini", "chat/completions"),
        ("text-embedding-3-small", "embeddings"),
        ("omni-moderation-latest", "moderations"),
        ("gpt-3.5-turbo-instruct", "completions"),
    ],
)
def test_each_kind_of_model_is_asked_for_what_it_does(upstream, model, path):
    assert health.test_channel(added(upstream.url, models=[model])).error == ""
    assert upstream.requests[-1].path == f"/v1/{path}"
    assert record().endpoint == path


def test_the_test_model_comes_first_and_any_model_can_be_named(upstream):
    made = added(upstream.url, models=[MODEL, "gpt-4o"], test_model="gpt-4o")
    assert health.test_channel(made).model == "gpt-4o"
    assert health.test_model(made, "o4-mini").model == "o4-mini"
    assert [request.model for request in upstream.requests] == ["gpt-4o", "o4-mini"]


def test_a_channel_without_models_says_so(upstream):
    assert "no model" in health.test_channel(added(upstream.url, models=[])).error
    assert upstream.requests == []


def test_a_provider_that_is_gone_says_so(upstream):
    made = added(upstream.url)
    made.provider = "gone"
    assert "no provider gone" in health.test_channel(made).error


def test_the_echo_provider_needs_no_network():
    assert health.test_channel(add_channel("echo", "echo")).error == ""
    assert record().ended == "done"
