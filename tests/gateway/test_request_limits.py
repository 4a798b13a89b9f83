"""Security points 27 and 28: what is too big, too deep or ambiguous is refused before anything is asked of an upstream."""

import gzip
import json

import pytest

from tests.gateway.asgi_client import Client, ask, run, scope_of
from tests.gateway.in_memory import ADMIN_KEY, MODEL, relay_app
from tests.gateway.known import KEY

PATH = "/v1/chat/completions"
MESSAGES = '"messages":[{"role":"user","content":"hi"}]'


async def posted(body, app=None, **headers):
    app = app or relay_app()
    answer = await ask(app, "POST", PATH, key=KEY, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return answer, app


@pytest.mark.parametrize(
    "second", ['"model":"other"', '"mod\\u0065l":"other"', '"\\u006d\\u006f\\u0064\\u0065\\u006c":"other"', '"Model":"other"', '"MODEL":"other"']
)
@pytest.mark.parametrize("field_first", [True, False])
async def test_28_a_second_model_is_refused(second, field_first):
    fields = [f'"model":"{MODEL}"', MESSAGES]
    body = "{" + ",".join([second, *fields] if field_first else [*fields, second]) + "}"
    answer, app = await posted(body.encode())
    assert (answer.status, answer.error()["code"]) == (400, "duplicate_field")
    assert app.relay.ledger.booked == []


@pytest.mark.parametrize("field", ["stream", "max_tokens", "n", "messages", "stream_options", "max_completion_tokens"])
async def test_28_a_second_field_that_decides_is_refused(field):
    value = {"messages": "[]", "stream": "false", "stream_options": "{}"}.get(field, "1")
    body = f'{{"model":"{MODEL}",{MESSAGES},"{field}":{value},"{field}":{value}}}'
    answer, _ = await posted(body.encode())
    assert (answer.status, answer.error()["code"]) == (400, "duplicate_field")


async def test_28_a_compressed_body_is_judged_too():
    body = f'{{"model":"{MODEL}",{MESSAGES},"model":"other"}}'.encode()
    answer, _ = await posted(gzip.compress(body), content_encoding="gzip")
    assert (answer.status, answer.error()["code"]) == (400, "duplicate_field")


async def test_28_multipart_is_no_json():
    answer, _ = await posted(
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n', content_type="multipart/form-data; boundary=x"
    )
    assert answer.status in (400, 415)
    answer.error()


async def test_27_a_body_above_the_limit_is_refused_unread():
    app = relay_app(max_body_bytes=1000)
    client = Client([b"x" * 900] * 5)
    headers = {"authorization": f"Bearer {KEY}", "content-length": "4500"}
    await run(app, scope_of("POST", PATH, headers, "192.0.2.1"), client.receive, client.send)
    answer = client.answer()
    assert (answer.status, answer.error()["code"]) == (413, "body_too_large")
    assert client.read == 0


async def test_27_without_a_key_nothing_is_read():
    client = Client([b"x" * 900] * 5)
    await run(relay_app(), scope_of("POST", PATH, {}, "192.0.2.1"), client.receive, client.send)
    assert client.answer().status == 401
    assert client.read == 0


@pytest.mark.parametrize("depth", [100, 5_000, 200_000])
@pytest.mark.parametrize("place", ["messages", "metadata", "tools", "response_format"])
async def test_27_depth(place, depth):
    nested = "[" * depth + "]" * depth
    fields = {"model": f'"{MODEL}"', "messages": '[{"role":"user","content":"hi"}]', place: nested}
    body = "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
    answer, _ = await posted(body.encode())
    assert answer.status in (200, 400)
    if answer.status != 200:
        answer.error()


@pytest.mark.parametrize(
    "content", ['{"a":' * 2000 + "1" + "}" * 2000, "[" * 2000 + "]" * 2000, '[{"type":"text","text":' * 900 + '"x"' + "}]" * 900]
)
async def test_27_depth_inside_a_message(content):
    answer, _ = await posted(f'{{"model":"{MODEL}","messages":[{{"role":"user","content":{content}}}]}}'.encode())
    assert answer.status in (200, 400)
    if answer.status != 200:
        answer.error()


async def test_27_hops_through_ourselves():
    body = f'{{"model":"{MODEL}",{MESSAGES}}}'.encode()
    app = relay_app(max_hops=3)
    assert (await posted(body, app, x_oneapi_hops="3"))[0].status == 200
    refused, _ = await posted(body, app, x_oneapi_hops="4")
    assert (refused.status, refused.error()["code"]) == (508, "hop_limit")
    for strange in ("", "-1", "x", "9" * 5000, "1, 2", "²"):
        assert (await posted(body, app, x_oneapi_hops=strange))[0].status == 200


async def test_27_above_the_bound_in_flight_nothing_is_read():
    app = relay_app(max_in_flight=0)
    client = Client([b"{}"])
    await run(app, scope_of("POST", PATH, {"authorization": f"Bearer {KEY}"}, "192.0.2.1"), client.receive, client.send)
    answer = client.answer()
    assert (answer.status, answer.error()["code"]) == (503, "service_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert client.read == 0


async def test_a_client_that_leaves_in_its_body_gets_nothing_and_holds_nothing():
    app = relay_app()
    client = Client([b"{", b'"model"'], leaves=True)
    await run(app, scope_of("POST", PATH, {"authorization": f"Bearer {KEY}"}, "192.0.2.1"), client.receive, client.send)
    assert client.sent == []
    assert (app.relay.gate.requests, app.relay.gate.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"[]", "invalid_request"),
        (b"{}", "model_missing"),
        (b'{"model":""}', "model_missing"),
        (b'{"model":5,"messages":[]}', "invalid_request"),
        (b'{"model":"gpt-4o"}', "missing_required_parameter"),
        (b'{"model":"gpt-4o","messages":null}', "missing_required_parameter"),
        (b'{"model":"gpt-4o","messages":[],"max_tokens":-1}', "invalid_request"),
        (b'{"model":"gpt-4o","messages":[],"n":1000000}', "invalid_request"),
        (b'{"model":"nobody has this","messages":[]}', "model_not_found"),
        (b'{"model":"\xff","messages":[]}', "invalid_json"),
        (b'{"model":"\\ud800","messages":[]}', "invalid_json"),
    ],
)
async def test_each_mistake_has_its_code(body, code):
    answer, _ = await posted(body)
    assert answer.status in (400, 404)
    assert answer.error()["code"] == code


async def test_an_administrator_who_forces_a_channel_that_is_not_there():
    body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert (await ask(relay_app(), "POST", PATH, key=f"{ADMIN_KEY}-1", body=body)).status == 200
    missing = await ask(relay_app(), "POST", PATH, key=f"{ADMIN_KEY}-9", body=body)
    assert (missing.status, missing.error()["code"]) == (400, "no_such_channel")
    forbidden = await ask(relay_app(), "POST", PATH, key=f"{KEY}-1", body=body)
    assert (forbidden.status, forbidden.error()["code"]) == (403, "channel_pin_not_allowed")
