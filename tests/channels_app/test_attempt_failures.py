"""Each way in which an upstream can fail before its first content, over real sockets: what it means, and what a client would be told."""

import pytest

from channels_app.provider import Operation
from outbound.transport import Timeouts
from tests.channels_app.asking import CHAT, ask_of, channel, failure_of, fault_of_the_client, streamed
from tests.services import free_port
from tests.upstream.server import KEY

BRIEF = Timeouts(connect=2.0, first=0.3, gap=0.3, total=5.0)
either_way = pytest.mark.parametrize("ask", [ask_of(), streamed()], ids=["plain", "stream"])


@either_way
async def test_nobody_listens(ask):
    failure = await failure_of(channel(f"http://127.0.0.1:{free_port()}"), ask)
    assert (failure.status, failure.verdict.kind, failure.error.status, failure.error.code) == (0, "unreachable", 502, "upstream_unreachable")


async def test_a_metadata_service_is_not_dialled():
    failure = await failure_of(channel("http://169.254.169.254"))
    assert (failure.verdict.kind, failure.error.code) == ("unreachable", "upstream_unreachable")


@either_way
@pytest.mark.parametrize(
    ("status", "kind"), [(401, "key_dead"), (402, "no_credit"), (403, "elsewhere"), (404, "elsewhere"), (500, "elsewhere"), (503, "elsewhere")]
)
async def test_an_error_for_which_another_channel_may_be_asked(upstream, ask, status, kind):
    upstream.fault(status=status)
    failure = await failure_of(channel(upstream.url), ask)
    assert (failure.status, failure.verdict.kind, failure.error.status) == (status, kind, status)
    assert failure.error.type


async def test_the_upstreams_own_words_are_passed_on(upstream):
    upstream.fault(status=404, error={"message": "No such model.", "type": "invalid_request_error", "param": "model", "code": "model_not_found"})
    error = (await failure_of(channel(upstream.url))).error
    assert (error.message, error.type, error.param, error.code) == ("No such model.", "invalid_request_error", "model", "model_not_found")


@pytest.mark.parametrize(("given", "told"), [("7", "7"), ("0.2", "1"), (None, "1"), ("garbage", "1"), ("99999999", "1")])
async def test_a_busy_upstream_says_how_long_to_wait(upstream, given, told):
    upstream.fault(status=429, retry_after=given)
    failure = await failure_of(channel(upstream.url))
    assert (failure.verdict.kind, failure.error.status, failure.error.code) == ("rate_limited", 429, "rate_limit_exceeded")
    assert failure.error.headers["Retry-After"] == told


async def test_a_429_for_want_of_credit_is_no_rate_limit(upstream):
    upstream.fault(status=429, error={"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"})
    assert (await failure_of(channel(upstream.url))).verdict.kind == "no_credit"


@either_way
async def test_what_the_client_did_wrong_is_tried_nowhere_else(upstream, ask):
    upstream.fault(status=400, error={"message": "temperature is too high", "type": "invalid_request_error", "param": "temperature", "code": None})
    error = await fault_of_the_client(channel(upstream.url), ask)
    assert (error.status, error.message, error.param) == (400, "temperature is too high", "temperature")


async def test_what_the_simulator_refuses_is_a_clients_fault_too(upstream):
    error = await fault_of_the_client(channel(upstream.url), ask_of({**CHAT, "temperature": 9}))
    assert (error.status, error.param) == (400, "temperature")
    assert len(upstream.refused) == 1


async def test_a_wrong_key_is_dead(upstream):
    failure = await failure_of(channel(upstream.url, keys=("sk-another-key-000",)))
    assert (failure.status, failure.verdict.kind) == (401, "key_dead")


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"null", b'{"error":null}', b'{"choices":[]}', b'{"choices":[{"message"', b"[" * 100_000])
async def test_an_answer_that_says_nothing_is_empty(upstream, body):
    upstream.fault(body=body)
    failure = await failure_of(channel(upstream.url))
    assert (failure.status, failure.verdict.kind, failure.error.status, failure.error.code) == (200, "empty", 502, "empty_answer")


@either_way
async def test_an_answer_without_content_is_empty(upstream, ask):
    upstream.fault(empty=True)
    assert (await failure_of(channel(upstream.url), ask)).verdict.kind == "empty"


async def test_no_vectors_are_an_empty_answer(upstream):
    upstream.fault(empty=True)
    ask = ask_of({"model": "text-embedding-3-small", "input": "x"}, Operation.EMBEDDINGS)
    assert (await failure_of(channel(upstream.url), ask)).verdict.kind == "empty"


async def test_an_error_under_status_200(upstream):
    upstream.fault(body=b'{"error":{"message":"Your balance is used up.","type":"insufficient_quota","code":"insufficient_quota"}}')
    failure = await failure_of(channel(upstream.url))
    assert (failure.status, failure.verdict.kind, failure.error.status, failure.error.message) == (200, "no_credit", 502, "Your balance is used up.")


async def test_an_error_instead_of_a_stream(upstream):
    upstream.fault(body=b'{"error":{"message":"Your balance is used up."}}', ignores_stream=True, content_type="application/json")
    failure = await failure_of(channel(upstream.url), streamed())
    assert (failure.verdict.kind, failure.error.message) == ("elsewhere", "Your balance is used up.")


async def test_a_plain_answer_instead_of_a_stream(upstream):
    upstream.fault(ignores_stream=True)
    failure = await failure_of(channel(upstream.url), streamed())
    assert failure.error.message == "The upstream did not answer with a stream."


@either_way
async def test_a_head_that_does_not_come(upstream, ask):
    upstream.fault(silent_head=True)
    failure = await failure_of(channel(upstream.url), ask, BRIEF)
    assert (failure.status, failure.verdict.kind, failure.error.status, failure.error.code) == (0, "timeout", 504, "upstream_timeout")
    upstream.wait_for(lambda now: now.aborted == 1 and now.open == 0)


@either_way
async def test_a_body_that_does_not_come(upstream, ask):
    upstream.fault(slow_first=30.0)
    assert (await failure_of(channel(upstream.url), ask, BRIEF)).verdict.kind == "timeout"
    upstream.wait_for(lambda now: now.open == 0)


async def test_a_plain_answer_that_stops_in_its_middle(upstream):
    upstream.fault(stall_after=0)
    assert (await failure_of(channel(upstream.url), None, BRIEF)).verdict.kind == "timeout"
    upstream.wait_for(lambda now: now.open == 0)


async def test_a_plain_answer_cut_in_its_middle(upstream):
    upstream.fault(cut_after=0)
    assert (await failure_of(channel(upstream.url))).verdict.kind == "unreachable"


async def test_a_provider_is_not_asked_for_what_it_does_not_offer(upstream, monkeypatch):
    monkeypatch.setattr("channels_app.providers.custom.Custom.operations", frozenset({Operation.CHAT}))
    failure = await failure_of(channel(upstream.url), ask_of({"model": "text-embedding-3-small", "input": "x"}, Operation.EMBEDDINGS))
    assert (failure.verdict.kind, failure.error.status) == ("elsewhere", 502)
    assert upstream.requests == []


async def test_a_key_that_cannot_stand_in_a_header_is_sent_nowhere(upstream):
    failure = await failure_of(channel(upstream.url, keys=(f"{KEY}\r\nX-Injected: 1",)))
    assert failure.verdict.kind == "unreachable"
    assert upstream.requests == []
