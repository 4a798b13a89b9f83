"""Whatever a client sends, it gets an answer, and an error is one in OpenAI's shape: never a 500, never silence."""

import asyncio
import gzip
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.limits import Throttle
from tests.gateway.asgi_client import ask
from tests.gateway.in_memory import ADMIN_KEY, MODEL, relay_app
from tests.gateway.known import KEY
from wire.peek import DECIDED

PATHS = [
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/moderations", f"/v1/engines/{MODEL}/embeddings", "/v1/models",
    f"/v1/models/{MODEL}", "/v1/responses", "/v1/nothing", "/dashboard/billing/usage", "/v1/", "/v1",
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "x", ""]
FINE = {200, 204}
REFUSALS = {400, 401, 403, 404, 405, 413, 415, 429, 501, 503, 508}
EMPTY = (502, "empty_answer")  # what comes of an upstream that has nothing to say to an empty list of inputs
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
FIELDS = [name.decode() for name in DECIDED]

scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | TEXT | st.just(MODEL)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12)
parts = st.fixed_dictionaries({"type": st.sampled_from(["text", "image_url", "input_audio", "file", "refusal"]) | TEXT}, optional={
    "text": values, "image_url": values, "input_audio": values, "file": values,
})  # fmt: skip
messages = st.fixed_dictionaries({"role": st.sampled_from(["user", "system", "assistant", "tool"]) | values}, optional={
    "content": values | st.lists(parts, max_size=3), "tool_calls": values, "name": values, "tool_call_id": values,
})  # fmt: skip
asks = st.fixed_dictionaries({"model": st.just(MODEL) | values}, optional={
    "messages": st.lists(messages, max_size=4) | values, "prompt": values, "input": values, "stream": st.booleans() | values,
    "stream_options": st.just({"include_usage": True}) | values, "max_tokens": st.integers(-1, 2**31) | values, "n": st.integers(0, 130) | values,
    "tools": values, "response_format": values, "functions": values, "best_of": values, "modalities": values, "temperature": values,
})  # fmt: skip
objects = st.dictionaries(st.sampled_from(FIELDS) | TEXT, values, max_size=8)
jsons = (asks | objects | values).map(lambda value: json.dumps(value).encode())
broken = st.builds(
    lambda text, at, noise: text[: at % (len(text) + 1)] + noise + text[at % (len(text) + 1) :], jsons, st.integers(0), st.binary(max_size=4)
)
cut = st.builds(lambda text, at: text[: at % (len(text) + 1)], jsons, st.integers(0))
bodies = jsons | broken | cut | st.binary(max_size=200)
header_values = st.binary(max_size=60).filter(lambda value: b"\r" not in value and b"\n" not in value)
headers = st.lists(
    st.tuples(
        st.sampled_from(
            [
                b"content-length", b"content-encoding", b"content-type", b"authorization", b"x-api-key", b"x-oneapi-hops", b"x-forwarded-for",
                b"access-control-request-headers", b"host", b"cookie", b"accept",
            ]
        ),
        header_values | st.sampled_from([b"gzip", b"identity", b"999999999999", b"Bearer " + KEY.encode(), f"Bearer {ADMIN_KEY}-1".encode()]),
    ),
    max_size=5,
)  # fmt: skip


@pytest.fixture(scope="module")
def loop():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def app():
    made = relay_app(max_body_bytes=2**20)
    made._throttle = Throttle(10**9)
    return made


def check(app, answer, method="POST"):
    assert answer.status in FINE | REFUSALS or (answer.status, answer.error()["code"]) == EMPTY
    assert "x-request-id" in answer.headers
    if answer.status not in FINE and method != "HEAD":
        answer.error()
    elif answer.status == 200 and answer.headers["content-type"] == "application/json" and method != "HEAD":
        answer.json()
    elif answer.headers["content-type"].startswith("text/event-stream"):
        assert answer.body.endswith(b"data: [DONE]\n\n")
    assert (app.relay.gate.requests, app.relay.gate.bytes) == (0, 0)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(PATHS[:5]), bodies)
@example("/v1/embeddings", b'{"model":"gpt-4o","input":[]}')
def test_any_body_of_a_valid_key(loop, app, path, body):
    check(app, loop.run(ask(app, "POST", path, key=KEY, body=body)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PATHS[:2]), asks)
@example("/v1/chat/completions", {"model": MODEL, "messages": [], "stream": True})
@example("/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": None}], "n": 128})
@example("/v1/completions", {"model": MODEL, "prompt": [[1, 2], [3]], "stream": True})
def test_any_request_that_is_nearly_right(loop, app, path, fields):
    check(app, loop.run(ask(app, "POST", path, key=KEY, body=json.dumps(fields).encode())))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(METHODS) | TEXT, st.sampled_from(PATHS) | TEXT.map(lambda text: f"/v1/{text}"), headers, bodies)
def test_any_method_path_and_headers(loop, app, method, path, given_headers, body):
    check(app, loop.run(ask(app, method, path, headers=given_headers, body=body)), method)


@settings(max_examples=100, deadline=None)
@given(bodies, st.lists(st.integers(1, 50), max_size=5), st.booleans())
def test_any_body_in_pieces_and_compressed(loop, app, body, lengths, garbled):
    packed = gzip.compress(body)
    packed = packed[:-3] + b"abc" if garbled else packed
    pieces = []
    for length in lengths:
        pieces.append(packed[:length])
        packed = packed[length:]
    answer = loop.run(ask(app, "POST", PATHS[0], key=KEY, headers={"content-encoding": "gzip"}, body=[*pieces, packed]))
    check(app, answer)
    assert not garbled or answer.status == 400
