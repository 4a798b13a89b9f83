"""Every error of the tree has OpenAI's shape, and a sentence that tells the caller what to do."""

import re

import msgspec
import pytest

from wire import errors, sse
from wire.errors import GatewayError, QuotaExhausted, RateLimited, Unavailable, UpstreamFailed, render_openai, render_openai_event

REQUEST_ID = "20261124120000123"


def tree(root: type[GatewayError]) -> list[type[GatewayError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in tree(child))]


EVERY_ERROR = tree(GatewayError)


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_renders_in_openai_shape(kind: type[GatewayError]) -> None:
    error = kind()

    body = msgspec.json.decode(render_openai(error, REQUEST_ID))

    assert body == {"error": {"message": f"{error.message} (request id: {REQUEST_ID})", "type": error.type, "param": error.param, "code": error.code}}
    assert 400 <= error.status < 600
    assert error.type
    assert re.fullmatch(r"[a-z_]+", error.code)


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_message_says_what_happened_and_what_to_do(kind: type[GatewayError]) -> None:
    assert re.fullmatch(r"[A-Z].+\. [A-Z].+\.", kind().message)


@pytest.mark.parametrize("kind", EVERY_ERROR)
def test_every_error_stands_in_the_drawn_tree(kind: type[GatewayError]) -> None:
    assert errors.__doc__ is not None
    drawn = next(line for line in errors.__doc__.splitlines() if re.search(rf"(^ *|─ ){kind.__name__}\b", line))

    if kind not in (GatewayError, UpstreamFailed):
        assert f"{kind.status} " in drawn
    assert kind is GatewayError or kind.code in drawn


@pytest.mark.parametrize("kind", [RateLimited, Unavailable])
def test_errors_that_pass_say_when_to_come_back(kind: type[RateLimited | Unavailable]) -> None:
    assert int(kind().headers["Retry-After"]) > 0
    assert kind(retry_after=7).headers == {"Retry-After": "7"}


def test_what_is_given_replaces_the_class_value() -> None:
    error = UpstreamFailed("Overloaded.", status=529, code="overloaded", type="overloaded_error", param="model", headers={"X-A": "1"})

    assert (error.status, error.code, error.type, error.param, error.headers) == (529, "overloaded", "overloaded_error", "model", {"X-A": "1"})
    assert str(error) == "Overloaded."
    assert UpstreamFailed().status == 502


def test_the_headers_of_one_error_are_not_those_of_another() -> None:
    QuotaExhausted().headers["X-A"] = "1"

    assert QuotaExhausted().headers == {}


def test_an_error_in_mid_stream_is_one_event() -> None:
    events = sse.Splitter().feed(render_openai_event(UpstreamFailed("Two\nlines."), REQUEST_ID))

    assert len(events) == 1
    data = sse.data_of(events[0])
    assert data is not None
    assert msgspec.json.decode(data)["error"]["message"] == f"Two\nlines. (request id: {REQUEST_ID})"
