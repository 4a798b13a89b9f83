"""What an upstream receives: the client's own bytes where nothing has to change, and else nothing changed but what has to."""

import json

import pytest

from channels_app.provider import Operation
from tests.channels_app.asking import CHAT, MODEL, ask_of, channel, fault_of_the_client, opening, streamed

SPACED = (
    b'{ "messages" : [ {"role":"user", "content":"\\u00fc \xc3\xbc \\ud83d\\ude00 1e2"} ] ,\n\t"model":"gpt-4o-mini", '
    b'"temperature":1.0e0, "x_future":{"b":1,"a":[1.10,2e400,null]}, "seed":9007199254740993 }'
)
STREAM = SPACED.replace(b'"temperature":1.0e0', b'"temperature":1.0e0, "stream":true')


async def sent(upstream, ask, **more):
    async with opening(channel(upstream.url, **more), ask):
        return upstream.requests[-1]


async def arrived(upstream, ask, **more):
    """What arrives; the simulator, as the real API today, answers 400 to a field that it does not know."""
    error = await fault_of_the_client(channel(upstream.url, **more), ask)
    assert "x_future" in error.message
    return upstream.requests[-1]


async def test_the_clients_bytes_pass_untouched_where_nothing_changes(upstream):
    assert (await arrived(upstream, ask_of(SPACED))).body == SPACED


async def test_a_stream_whose_usage_the_client_wants_passes_untouched(upstream):
    body = STREAM.replace(b'"stream":true', b'"stream":true, "stream_options": {"include_usage" : true}')
    received = await arrived(upstream, ask_of(body))
    assert received.body == body


async def test_usage_is_asked_for_where_the_client_did_not(upstream):
    async with opening(channel(upstream.url), streamed()) as opened:
        assert opened.hide_usage
    assert upstream.requests[-1].json == {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    body = (await arrived(upstream, ask_of(STREAM))).json
    assert body.pop("stream_options") == {"include_usage": True}
    assert body == json.loads(STREAM)


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": False, "include_obfuscation": False}])
async def test_other_options_of_the_stream_are_kept(upstream, options):
    received = await sent(upstream, ask_of({**CHAT, "stream": True, "stream_options": options}))
    assert received.json["stream_options"] == {**(options or {}), "include_usage": True}


async def test_a_plain_request_gets_no_stream_options(upstream):
    assert "stream_options" not in (await sent(upstream, ask_of())).json


async def test_unknown_fields_survive_a_change_byte_for_byte(upstream):
    upstream.models.add("other")
    received = await arrived(upstream, ask_of(SPACED), mapping={MODEL: "other"})
    assert received.json["model"] == "other"
    for value in (b'{"b":1,"a":[1.10,2e400,null]}', b"1.0e0", b"9007199254740993", b'"\\u00fc \xc3\xbc \\ud83d\\ude00 1e2"'):
        assert value in received.body


async def test_a_mapping_changes_the_model_at_the_upstream_only(upstream):
    upstream.models.add("gpt-4o-mini-2026")
    received = await sent(upstream, ask_of(), mapping={MODEL: "gpt-4o-mini-2026", "gpt-4o": "never"})
    assert received.model == "gpt-4o-mini-2026"
    assert {name: value for name, value in received.json.items() if name != "model"} == {"messages": CHAT["messages"]}


async def test_a_mapping_is_followed_once(upstream):
    upstream.models.add("b")
    assert (await sent(upstream, ask_of(), mapping={MODEL: "b", "b": "c"})).model == "b"


@pytest.mark.parametrize("role", ["system", "developer"])
async def test_the_channels_system_prompt_takes_the_place_of_the_clients(upstream, role):
    messages = [{"role": role, "content": "mine"}, *CHAT["messages"], {"role": "system", "content": "later"}]
    received = await sent(upstream, ask_of({**CHAT, "messages": messages}), system_prompt='Ours: "ünd"')
    assert received.json["messages"] == [{"role": "system", "content": 'Ours: "ünd"'}, *messages[1:]]


async def test_the_channels_system_prompt_stands_before_all_others(upstream):
    received = await arrived(upstream, ask_of(SPACED), system_prompt="Ours.")
    assert received.json["messages"] == [{"role": "system", "content": "Ours."}, *json.loads(SPACED)["messages"]]
    assert b'{"role":"user", "content":"\\u00fc \xc3\xbc \\ud83d\\ude00 1e2"}' in received.body


async def test_a_system_prompt_is_for_chats(upstream):
    ask = ask_of({"model": "text-embedding-3-small", "input": "x"}, Operation.EMBEDDINGS)
    assert (await sent(upstream, ask, system_prompt="Ours.")).json == {"model": "text-embedding-3-small", "input": "x"}


async def test_what_goes_out_in_headers(upstream):
    received = await sent(upstream, ask_of(hops=2), extra_headers=(("X-Team", "blue"),))
    headers = dict(received.headers)
    assert headers.pop("content-length").isdigit()
    assert headers == {
        "host": upstream.host,
        "authorization": f"Bearer {upstream.key}",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "oneapi",
        "x-oneapi-hops": "3",
        "x-team": "blue",
    }


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        (Operation.COMPLETIONS, {"model": "gpt-3.5-turbo-instruct", "prompt": "Say hello."}),
        (Operation.EMBEDDINGS, {"model": "text-embedding-3-small", "input": ["a", "b"]}),
        (Operation.MODERATIONS, {"model": "omni-moderation-latest", "input": "a"}),
    ],
)
async def test_every_operation_goes_to_its_path(upstream, operation, body):
    received = await sent(upstream, ask_of(body, operation))
    assert received.path == f"/v1/{operation.value}"
    assert received.json == body
    assert upstream.refused == []


async def test_a_moderation_without_a_model_is_sent_with_ours(upstream):
    ask = ask_of({"input": "a"}, Operation.MODERATIONS)
    ask = type(ask)(operation=ask.operation, head=ask.head, body=ask.body, model="omni-moderation-latest")
    assert (await sent(upstream, ask)).json == {"input": "a", "model": "omni-moderation-latest"}
