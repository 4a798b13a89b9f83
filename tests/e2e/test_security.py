"""What a client must not be able to do to the relay, through the real server. Each test names the requirement that it shows."""

import gzip
import json

import httpx
import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, add_user, client, until
from tests.server import start_server
from tests.upstream.recorder import record

pytestmark = pytest.mark.slow
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def http(server, simulator):
    """A client of a server whose channel is the simulator."""
    add_channel(server, simulator.url)
    with client(server, add_token(server)) as connected:
        until(lambda: MODEL in connected.get("/v1/models").text)
        yield connected


def well_formed(answer):
    """An error in OpenAI's shape with a request id."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"] in error["message"]
    return error


def test_01_nothing_a_client_sends_chooses_the_upstream(http, upstream):
    with record() as elsewhere:
        fields = dict.fromkeys(("api_base", "base_url", "proxy", "custom_llm_provider", "litellm_params", "host"), elsewhere.url)
        nested = {**EXACT, **fields, "metadata": {**fields, "deep": [fields]}, "api_key": "sk-other"}
        headers = dict.fromkeys(("x-portkey-custom-host", "x-base-url", "x-upstream", "x-forwarded-host", "proxy"), elsewhere.url)
        http.post(f"{CHAT}?base_url={elsewhere.url}&api_base={elsewhere.url}", json=nested, headers=headers)
        http.post(CHAT, json={**EXACT, "model": elsewhere.url})
        assert elsewhere.connections == []
    assert all(request.key == upstream.key for request in upstream.requests)


def test_02_no_redirect_carries_a_channels_key(server, http, upstream):
    with record() as elsewhere:
        upstream.fault(model=MODEL, status=302, headers={"location": f"{elsewhere.url}/v1/chat/completions"})
        answer = http.post(CHAT, json=EXACT)
        assert answer.status_code >= 400
        assert elsewhere.connections == []
    assert elsewhere.host not in answer.text


def test_03_hostile_bearers_get_one_form_of_401(server):
    hostile = [
        "' OR 1=1 --",
        '"; DROP TABLE gateway_token; --',
        "sk-" + "A" * 48,
        "sk-" + "a" * 47 + "%00",
        "x" * 60_000,
        "sk-\u00e9\u00fc",
        "-",
        "sk-",
        "Basic dTpw",
    ]
    forms = set()
    with httpx.Client(base_url=server.url, timeout=30) as anyone:
        for number in range(300):
            bearer = hostile[number % len(hostile)]
            answer = anyone.post(CHAT, json=EXACT, headers={b"authorization": b"Bearer " + bearer.encode("utf-8")})
            if answer.status_code in {400, 431}:
                assert len(bearer) > 50_000  # the server's own limit on headers
                continue
            assert answer.status_code == 401
            assert "www-authenticate" not in answer.headers
            error = well_formed(answer)
            forms.add((error["type"], error["code"], error["message"].partition(" (request id")[0]))
    assert len(forms) == 1


def test_25_only_listed_headers_reach_the_upstream(http, upstream):
    sent = {"cookie": "session=1", "x-forwarded-for": "1.2.3.4", "x-internal-secret": "canary", "openai-organization": "org-1", "authorization2": "x"}
    assert http.post(CHAT, json=EXACT, headers=sent).status_code == 200
    seen = {name for name, _ in upstream.requests[-1].headers}
    assert seen <= {
        "host",
        "accept",
        "accept-encoding",
        "authorization",
        "content-type",
        "content-length",
        "user-agent",
        "x-oneapi-hops",
        "connection",
    }


def test_26_variants_of_a_path_answer_as_the_path(http, server):
    for path in ("/v1/chat/completions", "//v1//chat/completions", "/V1/Chat/Completions", "/v1/chat%2Fcompletions", "/v1/%63hat/completions"):
        assert http.post(path, json=EXACT).status_code == 200, path
        assert httpx.post(server.url + path, json=EXACT).status_code == 401, path
    answer = http.post(CHAT, json=EXACT, headers={"host": "evil.example"})
    assert answer.status_code == 200  # the relay answers on any host; the console does not
    assert httpx.get(server.url + "/admin/login/", headers={"host": "evil.example"}).status_code == 400


def test_27_limits_come_before_reading(tmp_path, simulator):
    small = start_server(tmp_path, "sqlite", MAX_BODY_BYTES="2000")
    try:
        add_channel(small, simulator.url)
        with client(small, add_token(small)) as http:
            until(lambda: MODEL in http.get("/v1/models").text)
            big = {**EXACT, "messages": [{"role": "user", "content": "a" * 3000}]}
            assert http.post(CHAT, json=big).status_code == 413
            bomb = gzip.compress(json.dumps({**EXACT, "padding": "a" * 10_000_000}).encode())
            assert len(bomb) > 2000 or http.post(CHAT, content=bomb, headers={"content-encoding": "gzip"}).status_code == 413
            squeezed = gzip.compress(json.dumps({**EXACT, "padding": "a" * 100_000}).encode())
            assert http.post(CHAT, content=squeezed, headers={"content-encoding": "gzip"}).status_code == 413
    finally:
        small.kill()


def test_27_a_loop_through_ourselves_ends(http):
    answer = http.post(CHAT, json=EXACT, headers={"x-oneapi-hops": "4"})
    assert answer.status_code == 508
    assert well_formed(answer)["code"] == "hop_limit"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"gpt-4o-mini","model":"gpt-4o","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"gpt-4o-mini","mod\\u0065l":"gpt-4o","messages":[{"role":"user","content":"x"}]}',
        b'{"model":"gpt-4o-mini","stream":true,"stream":false,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"gpt-4o-mini","max_tokens":5,"max_token\\u0073":500000,"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"gpt-4o-mini","messages":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
        b'{"model":"gpt-4o-mini","max_tokens":1' + b"0" * 500 + b',"messages":[{"role":"user","content":"x"}]}',
        b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"\xff\xfe"}]}',
        b"not json",
        b"[]",
        b'{"messages":[]}',
        b'{"model":7,"messages":[]}',
        b"",
    ],
)
def test_28_what_is_forwarded_is_what_was_judged(http, upstream, body):
    answer = http.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    well_formed(answer)
    assert upstream.requests == []


def test_28_a_compressed_body_is_judged_as_a_plain_one(http, upstream):
    answer = http.post(CHAT, content=gzip.compress(json.dumps(EXACT).encode()), headers={"content-encoding": "gzip"})
    assert answer.status_code == 200
    assert upstream.requests[-1].json == EXACT
    assert http.post(CHAT, content=b"garbage", headers={"content-encoding": "gzip"}).status_code == 400
    assert http.post(CHAT, content=b"garbage", headers={"content-encoding": "br"}).status_code == 415


def test_29_bad_bearers_are_throttled_and_valid_keys_pass(server, http):
    with httpx.Client(base_url=server.url, timeout=30) as guessing:
        statuses = [guessing.get("/v1/models", headers={"authorization": f"Bearer sk-{number:048d}"}).status_code for number in range(700)]
    assert 429 in statuses
    assert set(statuses) == {401, 429}
    assert http.get("/v1/models").status_code == 200


def test_unknown_fields_reach_the_upstream_untouched(http, upstream):
    body = json.dumps({**EXACT, "x_vendor": {"b": 1.50, "a": [None, True]}, "top_k": 5}, indent=1).encode()
    assert http.post(CHAT, content=body, headers={"content-type": "application/json"}).status_code == 200
    assert upstream.requests[-1].body == body


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("GET", CHAT, 405),
        ("POST", "/v1/images/generations", 501),
        ("POST", "/v1/audio/speech", 501),
        ("GET", "/v1/files", 501),
        ("POST", "/v1/responses", 501),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_other_routes_answer_in_the_callers_format(http, method, path, status):
    answer = http.request(method, path)
    assert answer.status_code == status
    well_formed(answer)


def test_cors_and_head(http, server):
    asked = {
        "origin": "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    for path in (CHAT, "/v1/models", "/dashboard/billing/usage", "/v1/dashboard/billing/subscription"):
        answer = httpx.options(server.url + path, headers=asked)
        assert answer.status_code == 204, path
        assert answer.headers["access-control-allow-headers"] == "authorization,content-type"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
    head = http.head("/v1/models")
    assert head.status_code == 200
    assert head.content == b""
    assert httpx.get(server.url + "/v1/models").headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-goog-api-key", "api-key"])
def test_a_key_is_taken_from_every_header_that_clients_use(http, server, header):
    key = http.headers["authorization"].removeprefix("Bearer ")
    value = f"Bearer {key}" if header == "authorization" else key
    assert httpx.get(server.url + "/v1/models", headers={header: value}).status_code == 200


def test_only_an_administrator_forces_a_channel(http, server, upstream):
    key = http.headers["authorization"].removeprefix("Bearer ")
    assert httpx.post(server.url + CHAT, json=EXACT, headers={"authorization": f"Bearer {key}-1"}).status_code == 200
    assert httpx.post(server.url + CHAT, json=EXACT, headers={"authorization": f"Bearer {key}-999"}).status_code == 400
    add_user(server, "plain", "1")
    plain = add_token(server, "plain")
    until(lambda: httpx.get(server.url + "/v1/models", headers={"api-key": plain}).status_code == 200)
    assert httpx.post(server.url + CHAT, json=EXACT, headers={"authorization": f"Bearer {plain}-1"}).status_code == 403
