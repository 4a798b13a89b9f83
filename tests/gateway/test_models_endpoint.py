"""`GET /v1/models` lists what the key may use, and nothing that it may not."""

import msgspec
import pytest

from gateway.endpoints.models import list_models, one_model
from gateway.keys import Caller, authenticate
from gateway.snapshot import Snapshot
from tests.gateway.known import KEY, NOW, snapshot, token, upstream
from wire.errors import ModelNotFound

CHANNELS = (
    upstream(1, "gpt-4o", "gpt-4", "org/model"),
    upstream(2, "gpt-4o", groups=("default", "vip"), priority=5, provider="custom"),
    upstream(3, "o1", groups=("vip",)),
)


def caller_of(known: Snapshot) -> Caller:
    return authenticate(KEY.encode(), "", known, NOW)


def listed(known: Snapshot) -> list[str]:
    return [model["id"] for model in msgspec.json.decode(list_models(caller_of(known), known))["data"]]


def test_the_shape_is_openais() -> None:
    known = snapshot(upstreams=CHANNELS)

    answer = msgspec.json.decode(list_models(caller_of(known), known))

    assert answer["object"] == "list"
    assert answer["data"][1] == {"id": "gpt-4o", "object": "model", "created": 1626777600, "owned_by": "custom"}


def test_the_models_of_the_callers_group_are_listed_once_in_order() -> None:
    assert listed(snapshot(upstreams=CHANNELS)) == ["gpt-4", "gpt-4o", "org/model"]
    assert listed(snapshot(token(group_id=2), upstreams=CHANNELS)) == ["gpt-4o", "o1"]


def test_a_token_with_models_sees_those_that_are_served() -> None:
    assert listed(snapshot(token(models=frozenset({"gpt-4o", "o1", "gone"})), upstreams=CHANNELS)) == ["gpt-4o"]


def test_nothing_is_served() -> None:
    assert listed(snapshot()) == []


@pytest.mark.parametrize("model", ["gpt-4o", "org/model"])
def test_one_model_is_described(model: str) -> None:
    known = snapshot(upstreams=CHANNELS)

    assert msgspec.json.decode(one_model(caller_of(known), known, model))["id"] == model


@pytest.mark.parametrize("model", ["o1", "gone", "", "GPT-4O", "\x00", "x" * 10_000])
def test_a_model_of_others_does_not_exist(model: str) -> None:
    known = snapshot(token(models=frozenset({"gpt-4"})), upstreams=CHANNELS)

    for name in (model, "gpt-4o"):
        with pytest.raises(ModelNotFound) as refusal:
            one_model(caller_of(known), known, name)
        assert len(refusal.value.message) < 300
