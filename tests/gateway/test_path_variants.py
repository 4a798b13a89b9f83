"""Security point 26: encoded, doubled-slash and case variants of a path answer as the plain path, so that no rule of a proxy is evaded."""

from urllib.parse import unquote

import pytest

from gateway.asgi import handles
from tests.gateway.asgi_client import ask
from tests.gateway.in_memory import MODEL, relay_app
from tests.gateway.known import KEY

CHAT = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
EMBEDDING = b'{"input":"hi"}'
VARIANTS = ["{}", "/{}", "//{}", "///{}///"]


def variants(path: str) -> list[str]:
    """Ways to write one path. A server hands over the path decoded."""
    doubled = path.replace("/", "//")
    encoded = unquote("".join(f"%{ord(letter):02x}" if letter.isalpha() else letter for letter in path))
    found = [path, path.upper(), path.title(), doubled, "/" + doubled, encoded]
    if path.startswith("/v1/"):
        found += [path.removeprefix("/v1"), "/v1" + path, "/v1/V1//v1" + path]
    return found


@pytest.mark.parametrize("path", variants("/v1/chat/completions"))
async def test_26_chat(path):
    assert handles(path)
    assert (await ask(relay_app(), "POST", path, body=CHAT)).status == 401
    answer = await ask(relay_app(), "POST", path, key=KEY, body=CHAT)
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize("path", variants("/v1/models"))
async def test_26_models(path):
    assert handles(path)
    assert (await ask(relay_app(), "GET", path)).status == 401
    assert [model["id"] for model in (await ask(relay_app(), "GET", path, key=KEY)).json()["data"]] == [MODEL]


@pytest.mark.parametrize("prefix", ["/v1/models/", "/V1/Models/", "//v1//models//", "/models/", "/MODELS/"])
async def test_26_a_models_own_case_is_kept(prefix):
    answer = await ask(relay_app(), "GET", prefix + MODEL, key=KEY)
    assert answer.json()["id"] == MODEL
    assert (await ask(relay_app(), "GET", prefix + MODEL.upper(), key=KEY)).status == 404


@pytest.mark.parametrize(
    "path", ["/v1/engines/{}/embeddings", "/V1/Engines/{}/Embeddings", "//v1//engines//{}//embeddings", "/v1/v1/engines/{}/embeddings"]
)
async def test_26_a_model_in_the_path(path):
    answer = await ask(relay_app(), "POST", path.format(MODEL), key=KEY, body=EMBEDDING)
    assert answer.status == 200
    assert answer.json()["model"] == MODEL


@pytest.mark.parametrize("path", [f"/dashboard/billing/{name}" for name in ("subscription", "usage")])
async def test_26_billing(path):
    plain = (await ask(relay_app(), "GET", path, key=KEY)).json()
    for variant in [*variants(path), "/v1" + path, "/V1" + path.upper(), path + "/"]:
        assert handles(variant)
        assert (await ask(relay_app(), "GET", variant)).status == 401
        assert (await ask(relay_app(), "GET", variant, key=KEY)).json() == plain


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../admin/",
        "/v1/./models",
        "/v1/%2e%2e/admin",
        "/v1/chat/completions;x",
        "/v1/chat\\completions",
        "/v1/models\x00",
        "/v1/chat/completions\n",
    ],
)
async def test_26_what_is_no_variant_is_nothing(path):
    assert handles(path)
    answer = await ask(relay_app(), "GET", path, key=KEY)
    assert answer.status == 404
    answer.error()


@pytest.mark.parametrize("path", ["/", "/admin/", "/admin/v1/models", "/healthz", "/v1x", "/v2/models", "/dashboard/", "/static/v1/x", ""])
def test_the_console_keeps_its_paths(path):
    assert not handles(path)


async def test_what_openai_has_and_we_do_not_is_told_after_the_key():
    for path in ("/v1/images/generations", "/v1/responses", "/V1//Audio/speech", "/v1/files/file-1/content"):
        assert (await ask(relay_app(), "POST", path)).status == 401
        answer = await ask(relay_app(), "POST", path, key=KEY)
        assert (answer.status, answer.error()["code"]) == (501, "api_not_implemented")


@pytest.mark.parametrize(("method", "path", "allow"), [("GET", "/v1/chat/completions", "POST"), ("POST", "/v1/models", "GET, HEAD")])
async def test_another_method_is_told_which_to_use(method, path, allow):
    answer = await ask(relay_app(), method, path, key=KEY)
    assert (answer.status, answer.headers["allow"]) == (405, allow)
    answer.error()


async def test_head_has_no_body():
    answer = await ask(relay_app(), "HEAD", "/v1/models", key=KEY)
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


async def test_preflight_needs_no_key_and_allows_what_is_asked_for():
    headers = {
        "origin": "https://chat.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-stainless-os, authorization",
    }
    answer = await ask(relay_app(), "OPTIONS", "/v1/chat/completions", headers=headers)
    assert (answer.status, answer.body) == (204, b"")
    assert "content-length" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-headers"] == "x-stainless-os, authorization"
    assert "access-control-allow-credentials" not in answer.headers


async def test_preflight_repeats_nothing_but_names():
    answer = await ask(relay_app(), "OPTIONS", "/v1/models", headers={"access-control-request-headers": "x: y\tz<script>"})
    assert answer.headers["access-control-allow-headers"] == "authorization, content-type"
