"""No text of an upstream shows its key, its host, its extra headers or its account, wherever in its error they stand."""

import json

import pytest

from tests.channels_app.asking import ask_of, channel, failure_of, fault_of_the_client, opening, rest_of, streamed
from tests.upstream.errors import ORGANISATION
from tests.upstream.server import KEY
from wire.errors import render_openai

TEAM_SECRET = "Team.Secret/42=="


def hidden(upstream):
    """What must not be seen, and an error that shows all of it."""
    secrets = (KEY, upstream.host, upstream.url, ORGANISATION, TEAM_SECRET)
    message = f"Incorrect API key {KEY} ('Bearer {KEY}') at {upstream.url}/v1 ({upstream.host}) of {ORGANISATION}, team {TEAM_SECRET}."
    return secrets, {"message": message, "type": f"bad_key_{KEY}", "param": upstream.host, "code": KEY}


def shown(error) -> str:
    """All that a client would see of an error."""
    return render_openai(error, "id").decode() + json.dumps(error.headers)


def channel_of(upstream):
    return channel(upstream.url, extra_headers=(("X-Team", TEAM_SECRET),))


@pytest.mark.parametrize("ask", [ask_of(), streamed()], ids=["plain", "stream"])
@pytest.mark.parametrize("status", [401, 402, 429, 500, 418])
async def test_an_error_status(upstream, ask, status):
    secrets, told = hidden(upstream)
    upstream.fault(status=status, error=told)
    if status == 418:
        text = shown(await fault_of_the_client(channel_of(upstream), ask))
    else:
        failure = await failure_of(channel_of(upstream), ask)
        text = shown(failure.error) + str(failure)
    assert "Incorrect API key" in text
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("body", ['{"error":%s}', '{"message":%s}', "%s"])
async def test_an_error_under_status_200(upstream, body):
    secrets, told = hidden(upstream)
    upstream.fault(body=(body % json.dumps(told)).encode())
    text = shown((await failure_of(channel_of(upstream))).error)
    assert [secret for secret in secrets if secret in text] == []


async def test_an_error_before_the_content_of_a_stream(upstream):
    secrets, told = hidden(upstream)
    upstream.fault(error_in_stream=0, error=told)
    text = shown((await failure_of(channel_of(upstream), streamed())).error)
    assert "Incorrect API key" in text
    assert [secret for secret in secrets if secret in text] == []


async def test_an_error_in_the_middle_of_a_stream(upstream):
    secrets, told = hidden(upstream)
    async with opening(channel_of(upstream), streamed()) as opened:
        await rest_of(opened)
        text = opened.explain(json.dumps({"error": told}).encode())
    assert "Incorrect API key" in text
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("data", [b"", b"nonsense", b'"\xff"', b'{"error":null}', b'{"error":[1]}', b'{"error":{"message":5}}', b"[" * 100_000])
async def test_an_error_that_cannot_be_read_has_a_sentence_of_ours(upstream, data):
    async with opening(channel_of(upstream), streamed()) as opened:
        assert opened.explain(data) == "The upstream failed in the middle of its answer."


async def test_who_cannot_be_reached_is_not_named():
    text = shown((await failure_of(channel("http://no-such-host.invalid:8443"))).error)
    assert "no-such-host" not in text


async def test_names_that_hide_nothing_are_kept(upstream):
    upstream.fault(status=500, error={"message": "m", "type": "server_error", "param": "messages[0].content", "code": "key_expired"})
    error = (await failure_of(channel_of(upstream))).error
    assert (error.type, error.param, error.code) == ("server_error", "messages[0].content", "key_expired")
