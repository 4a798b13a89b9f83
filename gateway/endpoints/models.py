"""The models that a key may use, as `GET /v1/models` of https://platform.openai.com/docs/api-reference/models lists them."""

import msgspec

from gateway.keys import Caller
from gateway.snapshot import Snapshot
from wire.errors import ModelNotFound

CREATED = 1_626_777_600  # one-api's; upstreams do not tell for all


def _shown(model: str, snapshot: Snapshot, caller: Caller) -> dict[str, object]:
    upstreams = snapshot.candidates(caller.group.name, model)
    return {"id": model, "object": "model", "created": CREATED, "owned_by": upstreams[0].provider if upstreams else "custom"}


def list_models(caller: Caller, snapshot: Snapshot) -> bytes:
    """All of them, in alphabetical order."""
    names = snapshot.models_of(caller.group.name, caller.token.models)
    return msgspec.json.encode({"object": "list", "data": [_shown(name, snapshot, caller) for name in names]})


def one_model(caller: Caller, snapshot: Snapshot, model: str) -> bytes:
    """One of them. Raises ModelNotFound for one that this key may not use."""
    if not snapshot.candidates(caller.group.name, model) or (caller.token.models and model not in caller.token.models):
        raise ModelNotFound(f"The model '{model[:100]}' does not exist here. GET /v1/models lists those that do.")
    return msgspec.json.encode(_shown(model, snapshot, caller))
