"""The request that an OpenAI-compatible provider makes: its address, its headers, its list of models."""

import msgspec
import pytest

from channels_app.provider import Credential, Operation, host_of
from channels_app.registry import PROVIDERS, get
from outbound.transport import Timeouts
from tests.channels_app.asking import channel


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("https://api.example", "https://api.example/v1/chat/completions"),
        ("https://api.example/", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1", "https://api.example/v1/chat/completions"),
        ("https://api.example/v1/", "https://api.example/v1/chat/completions"),
        ("https://api.example/api/v3", "https://api.example/api/v3/chat/completions"),
        ("https://api.example/v1beta", "https://api.example/v1beta/chat/completions"),
        ("https://api.example/v1alpha2", "https://api.example/v1alpha2/chat/completions"),
        ("https://api.example/v1.1", "https://api.example/v1.1/chat/completions"),
        ("https://api.example/compatible-mode", "https://api.example/compatible-mode/v1/chat/completions"),
        ("https://api.example/v1/proxy", "https://api.example/v1/proxy/v1/chat/completions"),
        ("https://v1", "https://v1/v1/chat/completions"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/v1/chat/completions"),
        ("http://[::1]:8080", "http://[::1]:8080/v1/chat/completions"),
    ],
)
def test_the_address_follows_the_base_url(base_url, address):
    assert get("custom").url(channel(base_url), Operation.CHAT, "m") == address


@pytest.mark.parametrize(
    ("operation", "path"),
    [
        (Operation.CHAT, "chat/completions"),
        (Operation.COMPLETIONS, "completions"),
        (Operation.EMBEDDINGS, "embeddings"),
        (Operation.MODERATIONS, "moderations"),
        (Operation.MODELS, "models"),
    ],
)
def test_each_operation_has_its_path(operation, path):
    assert get("openai").url(channel(provider="openai"), operation, "m") == f"https://api.openai.com/v1/{path}"


def test_the_model_is_no_part_of_the_address():
    hostile = "../../admin?x=#@evil.example/"
    assert get("custom").url(channel("https://api.example"), Operation.CHAT, hostile) == "https://api.example/v1/chat/completions"


def test_the_key_is_a_bearer_and_the_channels_headers_come_last():
    upstream = channel("https://api.example", extra_headers=(("X-Team", "blue"),))
    request = get("custom").request(upstream, Credential(1, "sk-1"), Operation.CHAT, "m", b"{}", Timeouts(), (("Accept", "text/event-stream"),))
    assert (request.method, request.body) == ("POST", b"{}")
    assert request.headers == (
        ("Content-Type", "application/json"),
        ("Authorization", "Bearer sk-1"),
        ("Accept", "text/event-stream"),
        ("X-Team", "blue"),
    )


def test_without_a_key_there_is_no_bearer():
    assert get("custom").headers(channel("https://api.example"), Credential(0, "")) == ()


def test_a_credential_does_not_show_its_secret():
    assert "sk-secret" not in f"{Credential(7, 'sk-secret')} {Credential(7, 'sk-secret')!r}"


def test_models_are_listed():
    request = get("custom").list_models(channel("https://api.example"), Credential(1, "sk-1"), Timeouts())
    assert (request.method, request.url, request.headers) == ("GET", "https://api.example/v1/models", (("Authorization", "Bearer sk-1"),))
    assert get("custom").read_models(b'{"object":"list","data":[{"id":"a","x":1},{"id":"b"}]}') == ["a", "b"]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"data":{}}', b'{"data":[{"name":"a"}]}'])
def test_what_is_no_list_of_models_is_an_error(body):
    with pytest.raises(msgspec.DecodeError):
        get("custom").read_models(body)


def test_host_and_port_are_compared_in_lower_case_and_without_a_user():
    assert host_of("https://API.Example:8443/v1") == "api.example:8443"
    assert host_of("https://user:word@api.example/v1") == "api.example"
    assert host_of("https://api.example#@evil.example/") == "api.example"
    assert host_of("https://api.example@evil.example/") == "evil.example"


def test_every_provider_is_found_by_its_slug_and_is_documented():
    assert {"openai", "custom", "echo"} <= set(PROVIDERS)
    for slug, provider in PROVIDERS.items():
        assert provider.slug == slug
        assert provider.name
        assert provider.docs_url.startswith("https://") or not provider.needs_key
    with pytest.raises(KeyError):
        get("no-such-provider")
