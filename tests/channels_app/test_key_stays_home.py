"""Whatever a request or a provider says: a channel's key goes to the channel's saved host only, and no other address is connected to."""

import pytest

from channels_app.providers.custom import Custom
from tests.channels_app.asking import CHAT, ask_of, channel, failure_of, fault_of_the_client, opening, rest_of, streamed
from tests.upstream.recorder import record
from tests.upstream.server import KEY

FIELDS = (
    "api_base",
    "base_url",
    "url",
    "host",
    "endpoint",
    "proxy",
    "http_proxy",
    "api_key",
    "custom_llm_provider",
    "litellm_params",
    "organization",
)


@pytest.fixture
def elsewhere():
    with record() as recorder:
        yield recorder
        assert recorder.connections == []


@pytest.mark.parametrize("where", ["top", "metadata", "message", "image", "tool", "stream_options"])
async def test_01_no_field_at_any_depth_selects_host_key_or_proxy(upstream, elsewhere, where):
    hostile = {**dict.fromkeys(FIELDS, f"{elsewhere.url}/v1"), "api_key": "sk-of-the-client", "extra_headers": {"Authorization": "Bearer sk-x"}}
    function = {"name": "f", "parameters": {"$schema": elsewhere.url, **hostile}}
    bodies = {
        "top": {**CHAT, **hostile},
        "metadata": {**CHAT, "metadata": {"deep": [hostile], **hostile}},
        "message": {**CHAT, "messages": [{**CHAT["messages"][0], **hostile}]},
        "image": {**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": f"{elsewhere.url}/a.png"}}]}]},
        "tool": {**CHAT, "tools": [{"type": "function", "function": function}]},
        "stream_options": {**CHAT, "stream": True, "stream_options": {"include_usage": True, **hostile}},
    }
    ask = ask_of(bodies[where])
    if where in {"top", "stream_options"}:  # fields that the real API refuses by their names
        await fault_of_the_client(channel(upstream.url), ask)
    else:
        async with opening(channel(upstream.url), ask):
            pass
    received = upstream.requests[-1]
    assert (received.key, received.header("host"), received.body) == (KEY, upstream.host, ask.body)


@pytest.mark.parametrize(
    "model", ["http://{host}/v1", "//{host}/", "@{host}/", "#@{host}", "../../{host}", "gpt\r\nHost: {host}", "?x=http://{host}"]
)
async def test_01_no_name_of_a_model_moves_the_host(upstream, elsewhere, model):
    named = model.format(host=elsewhere.host)
    upstream.models.add(named)
    async with opening(channel(upstream.url), ask_of({**CHAT, "model": named})):
        pass
    assert (upstream.requests[-1].header("host"), upstream.requests[-1].path) == (upstream.host, "/v1/chat/completions")


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_01_the_environment_chooses_no_proxy(upstream, elsewhere, monkeypatch, name):
    monkeypatch.setenv(name, elsewhere.url)
    async with opening(channel(upstream.url)):
        pass
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("ask", [ask_of(), streamed()], ids=["plain", "stream"])
async def test_02_no_redirect_is_followed(upstream, elsewhere, status, ask):
    upstream.fault(status=status, headers={"location": f"{elsewhere.url}/v1/chat/completions"})
    failure = await failure_of(channel(upstream.url), ask)
    assert (failure.status, failure.verdict.kind, failure.error.status) == (status, "elsewhere", 502)
    assert elsewhere.host not in failure.error.message


async def test_02_each_channel_gets_its_own_key(upstream):
    other = "sk-upstream-key-of-the-simulator-0002"
    for key in (KEY, other):
        async with opening(channel(upstream.url, keys=(key,))):
            pass
    assert [request.key for request in upstream.requests] == [KEY, other]


async def test_02_cookies_of_an_upstream_are_not_sent_back(upstream):
    upstream.fault(headers={"set-cookie": "session=1; path=/"})
    for _ in range(2):
        async with opening(channel(upstream.url), streamed()) as opened:
            await rest_of(opened)
    assert [request.header("cookie") for request in upstream.requests] == ["", ""]


class Straying(Custom):
    """A provider that builds its address of a part that somebody may enter, as many do with a resource, a region or a project."""

    def url(self, upstream, operation, model):
        return upstream.settings["address"]


@pytest.mark.parametrize(
    "address",
    [
        "http://{elsewhere}/v1/chat/completions",
        "http://{home}@{elsewhere}/v1/chat/completions",
        "http://{elsewhere}#@{home}/v1/chat/completions",
        "http://{elsewhere}/?@{home}/",
        "http://{home}.{elsewhere}/",
        "http://{home}0/",
        "http://127.0.0.1/",
        "//{elsewhere}/",
        "",
    ],
)
async def test_14_an_address_that_left_the_channels_host_is_not_dialled(upstream, elsewhere, monkeypatch, address):
    monkeypatch.setattr("channels_app.attempt.PROVIDERS", {"custom": Straying()})
    strayed = address.format(home=upstream.host, elsewhere=elsewhere.host)
    failure = await failure_of(channel(upstream.url, settings={"address": strayed}))
    assert (failure.status, failure.verdict.kind) == (0, "unreachable")
    assert upstream.requests == []


async def test_14_the_same_host_in_other_letters_is_the_same(upstream, monkeypatch):
    monkeypatch.setattr("channels_app.attempt.PROVIDERS", {"custom": Straying()})
    home = f"http://LOCALHOST:{upstream.port}"
    async with opening(channel(home.lower(), settings={"address": f"{home}/v1/chat/completions"})):
        pass
    assert len(upstream.requests) == 1
