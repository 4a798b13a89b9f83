"""The simulator refuses what the real API refuses, and misbehaves as told: what other tests stand on."""

import httpx
import pytest

from tests.upstream.server import KEY

CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Say hello."}]}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def http(upstream):
    with httpx.Client(base_url=f"{upstream.url}/v1", headers={"Authorization": f"Bearer {KEY}"}, trust_env=False, timeout=10) as client:
        yield client


def events(answer):
    return answer.text.replace("\r\n", "\n").strip().split("\n\n")


def test_good_answers(http, upstream):
    assert http.post("/chat/completions", json=CHAT).json()["usage"]["total_tokens"] == 35
    assert http.post("/completions", json={"model": "gpt-3.5-turbo-instruct", "prompt": "x"}).json()["choices"][0]["text"]
    assert len(http.post("/embeddings", json={"model": "text-embedding-3-small", "input": ["a", "b"]}).json()["data"]) == 2
    assert http.post("/moderations", json={"input": "x"}).json()["results"]
    assert {"id": "gpt-4o"}.items() <= http.get("/models/gpt-4o").json().items()
    assert len(http.get("/models").json()["data"]) == len(upstream.models)
    assert (upstream.served, upstream.refused, len(upstream.requests)) == (6, [], 6)


@pytest.mark.parametrize("wanted", [None, {"include_usage": True}])
def test_a_stream(http, wanted):
    found = events(http.post("/chat/completions", json={**CHAT, "stream": True, "stream_options": wanted}))
    assert found[-1] == "data: [DONE]"
    assert '"role":"assistant"' in found[0]
    assert ('"usage":{' in found[-2]) is bool(wanted)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": None}, 400),
        ({"model": "no-such-model"}, 404),
        ({"messages": None}, 400),
        ({"messages": []}, 400),
        ({"messages": "hello"}, 400),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400),
        ({"messages": [{"role": "user"}]}, 400),
        ({"messages": [{"role": "user", "content": 5}]}, 400),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, 400),
        ({"messages": [{"role": "tool", "content": "x"}]}, 400),
        ({"temperature": "hot"}, 400),
        ({"temperature": 3}, 400),
        ({"n": 0}, 400),
        ({"max_tokens": 1.5}, 400),
        ({"stream": "yes"}, 400),
        ({"stream_options": {"include_usage": True}}, 400),
        ({"stream": True, "stream_options": {"include_usage": 1}}, 400),
        ({"tools": []}, 400),
        ({"tools": [{"type": "function"}]}, 400),
        ({"tool_choice": "required"}, 400),
        ({"response_format": {"type": "poem"}}, 400),
        ({"response_format": {"type": "json_schema"}}, 400),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400),
        ({"no_such_parameter": 1}, 400),
    ],
    ids=str,
)
def test_what_the_real_api_refuses(http, upstream, change, status):
    answer = http.post("/chat/completions", json={**CHAT, **change})
    assert (answer.status_code, set(answer.json()["error"])) == (status, {"message", "type", "param", "code"})
    assert len(upstream.refused) == 1


def test_who_is_not_let_in(http):
    for headers in ({"Authorization": "Bearer sk-wrong"}, {"Authorization": "Basic x"}, {"Authorization": ""}):
        assert http.post("/chat/completions", json=CHAT, headers=headers).status_code == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model":"gpt-4o-mini","model":"gpt-4o","messages":[]}', b'{"x":NaN}', b"\xff"])
def test_what_is_no_request(http, body):
    assert http.post("/chat/completions", content=body, headers={"content-type": "application/json"}).status_code == 400


def test_other_ways_to_ask(http):
    assert http.get("/chat/completions").status_code == 405
    assert http.post("/chat/completions", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
    assert http.post("/no/such/path", json={}).status_code == 404


def test_tools_and_schemas(http):
    call = http.post("/chat/completions", json={**CHAT, "tools": [TOOL], "tool_choice": "required"}).json()["choices"][0]
    assert (call["finish_reason"], call["message"]["tool_calls"][0]["function"]["name"]) == ("tool_calls", "weather")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert http.post("/chat/completions", json={**CHAT, "response_format": form}).json()["choices"][0]["message"]["content"] == '{"n": 7}'


def test_a_fault_hits_whom_it_is_meant_for_as_often_as_said(http, upstream):
    fault = upstream.fault(model="gpt-4o", times=2, status=503, retry_after=3)
    assert http.post("/chat/completions", json=CHAT).status_code == 200
    answers = [http.post("/chat/completions", json={**CHAT, "model": "gpt-4o"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 200]
    assert (answers[0].headers["retry-after"], fault.hits) == ("3", 2)


@pytest.mark.parametrize(("fault", "places"), [({"usage_early": True}, [0]), ({"usage_twice": True}, [-3, -2]), ({"no_usage": True}, [])])
def test_usage_where_it_should_not_be(http, upstream, fault, places):
    upstream.fault(**fault)
    found = events(http.post("/chat/completions", json={**CHAT, "stream": True, "stream_options": {"include_usage": True}}))
    assert [index for index, event in enumerate(found) if '"usage":{' in event] == [place % len(found) for place in places]


def test_a_cut_breaks_the_connection(http, upstream):
    upstream.fault(cut_after=2)
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/chat/completions", json={**CHAT, "stream": True})
    assert upstream.served == 0


def test_a_stall_lasts_until_it_is_released_or_the_client_leaves(http, upstream):
    fault = upstream.fault(stall_after=2)
    with http.stream("POST", "/chat/completions", json={**CHAT, "stream": True}):
        upstream.wait_for(lambda now: now.open == 1)
    upstream.wait_for(lambda now: now.open == 0 and now.aborted == 1)
    fault.release()
    assert http.post("/chat/completions", json={**CHAT, "stream": True}).text.endswith("data: [DONE]\n\n")
