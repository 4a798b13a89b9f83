"""What a provider is: facts about an address, and up to three methods where it differs from OpenAI's. It does no I/O.

A subclass states its facts as class attributes, each quirk with the upstream's documentation beside it, and its module ends in `PROVIDER = …`:
registry.py finds it there, and form, docs, health test and conformance tests pick it up.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

import msgspec

from outbound.transport import MemoryAnswer, Request, Timeouts


class Operation(StrEnum):
    """What a client asks for; the value is the path below the API's version."""

    CHAT = "chat/completions"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    MODERATIONS = "moderations"
    MODELS = "models"

    @property
    def has_output(self) -> bool:
        """Whether its answers are made of tokens that are paid for."""
        return self in (Operation.CHAT, Operation.COMPLETIONS)


class Credential(msgspec.Struct, frozen=True):
    """One key of a channel. Its text is the secret and appears in no representation."""

    id: int
    secret: str

    def __repr__(self) -> str:
        return f"Credential({self.id})"

    __str__ = __repr__


class Upstream(msgspec.Struct, frozen=True, eq=False):
    """A channel as the data plane sees it: enabled, with the keys that may be used."""

    id: int
    name: str
    provider: str
    base_url: str
    models: frozenset[str]
    groups: frozenset[str]
    mapping: dict[str, str]
    priority: int
    weight: int
    keys: tuple[Credential, ...]
    system_prompt: str = ""
    settings: dict[str, Any] = {}
    proxy: str | None = None
    extra_headers: tuple[tuple[str, str], ...] = ()

    def name_of(self, model: str) -> str:
        """The name at this upstream of a model that a client asks for."""
        return self.mapping.get(model, model)


Kind = Literal["client", "elsewhere", "key_dead", "no_credit", "rate_limited", "empty", "timeout", "unreachable"]


class Verdict(msgspec.Struct, frozen=True):
    """What an upstream's error means: `client` is the caller's own fault, everything else may be tried elsewhere. The message is not yet scrubbed."""

    kind: Kind
    message: str
    code: str | None = None
    type: str | None = None
    param: str | None = None
    retry_after: float | None = None
    status: int = 502
    """What the client gets: the upstream's own, or the one that an error inside a success stands for."""


class _Error(msgspec.Struct):
    message: Any = None
    code: Any = None
    type: Any = None
    param: Any = None


class _ErrorBody(msgspec.Struct):
    error: Any = None
    message: Any = None
    msg: Any = None
    error_msg: Any = None
    detail: Any = None


_VERSION = re.compile(r"(?<!/)/v\d+(?:\.\d+|alpha\d*|beta\d*)?$")
_DEAD_KEY = frozenset({"invalid_api_key", "account_deactivated", "authentication_error", "invalid_authentication", "organization_deactivated"})
_NO_CREDIT = frozenset({"insufficient_quota", "billing_not_active", "billing_hard_limit_reached", "insufficient_balance"})


class Provider:
    """An OpenAI-compatible API; see https://platform.openai.com/docs/api-reference for its paths, headers and errors."""

    slug: ClassVar[str]
    name: ClassVar[str]
    base_url: ClassVar[str] = ""
    docs_url: ClassVar[str] = ""
    key_hint: ClassVar[str] = "sk-…"
    needs_key: ClassVar[bool] = True
    models: ClassVar[tuple[str, ...]] = ()
    operations: ClassVar[frozenset[Operation]] = frozenset(Operation)
    setting_names: ClassVar[tuple[str, ...]] = ()

    def url(self, upstream: Upstream, operation: Operation, model: str) -> str:
        """The full address. A base URL that ends in a version segment (/v1, /v3 …) gets only the operation's path."""
        base = (upstream.base_url or self.base_url).rstrip("/")
        return f"{base}/{operation.value}" if _VERSION.search(base) else f"{base}/v1/{operation.value}"

    def headers(self, upstream: Upstream, credential: Credential) -> tuple[tuple[str, str], ...]:
        """Those that authenticate."""
        return (("Authorization", f"Bearer {credential.secret}"),) if credential.secret else ()

    def request(
        self,
        upstream: Upstream,
        credential: Credential,
        operation: Operation,
        model: str,
        body: bytes,
        timeouts: Timeouts,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Request:
        """A POST of `body`. The channel's own extra headers come last, in place of others with their names."""
        ours = (("Content-Type", "application/json"), *self.headers(upstream, credential), *headers)
        if upstream.extra_headers:
            replaced = {name.lower() for name, _ in upstream.extra_headers}
            ours = tuple(pair for pair in ours if pair[0].lower() not in replaced)
        return Request(
            method="POST",
            url=self.url(upstream, operation, model),
            headers=(*ours, *upstream.extra_headers),
            body=body,
            timeouts=timeouts,
            proxy=upstream.proxy,
            client=upstream.settings.get("transport", ""),
        )

    def classify(self, status: int, headers: Mapping[str, str], body: bytes) -> Verdict:
        """What an error means, also one that came with status 200. Codes: https://platform.openai.com/docs/guides/error-codes/api-errors"""
        error = read_error(body)
        if status < 400:
            status = implied_status(error)
        code, kind = text_or_none(error.code), text_or_none(error.type)
        message = text_or_none(error.message) or f"The upstream answered with status {status}."
        verdict = self.meaning(status, code, kind)
        return Verdict(verdict, message, code, kind, text_or_none(error.param), retry_after(headers), status)

    def meaning(self, status: int, code: str | None, kind: str | None) -> Kind:
        """The verdict on a status with the code and type of its error."""
        names = {code, kind}
        if names & _NO_CREDIT or status == 402:
            return "no_credit"
        if status == 401 or names & _DEAD_KEY:
            return "key_dead"
        if status == 429:
            return "rate_limited"
        if status in {403, 404, 405, 408, 409} or status >= 500:
            return "elsewhere"
        return "client"

    def answer(self, operation: Operation, body: bytes) -> MemoryAnswer | None:
        """The answer of a provider that needs no upstream; None for all others."""
        return None

    def list_models(self, upstream: Upstream, credential: Credential, timeouts: Timeouts) -> Request:
        """The request for the models that a key may use."""
        return Request(
            "GET", self.url(upstream, Operation.MODELS, ""), (*self.headers(upstream, credential), *upstream.extra_headers), timeouts=timeouts
        )

    def read_models(self, body: bytes) -> list[str]:
        """Their names. Raises msgspec.DecodeError for anything but a list."""
        return [item.id for item in msgspec.json.decode(body, type=_ModelList).data]


class _Model(msgspec.Struct):
    id: str


class _ModelList(msgspec.Struct):
    data: list[_Model]


def read_error(body: bytes) -> _Error:
    """The error in an upstream's body: OpenAI's shape, or the first of the fields that others use; empty where nothing is understood."""
    try:
        found = msgspec.json.decode(body, type=_ErrorBody)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return _Error(message=body[:500].decode(errors="replace").strip() or None)
    if isinstance(found.error, dict):
        known = {name: found.error.get(name) for name in _Error.__struct_fields__}
        return _Error(**known)
    first = next((text for text in (found.error, found.message, found.msg, found.error_msg, found.detail) if text), None)
    return _Error(message=first if isinstance(first, str) else None)


_IMPLIED = {"model_not_found": 404, "rate_limit_exceeded": 429, "insufficient_quota": 429, "invalid_api_key": 401}


def implied_status(error: _Error) -> int:
    """The status of an error that came inside a success: its code where that is one (https://openrouter.ai/docs/api-reference/errors), else by
    its names; 502 where nothing is known."""
    code = text_or_none(error.code) or ""
    if code.isascii() and code.isdigit() and len(code) == 3 and 400 <= int(code) < 600:
        return int(code)
    if code in _IMPLIED:
        return _IMPLIED[code]
    return 400 if error.type == "invalid_request_error" else 502


def text_or_none(value: object) -> str | None:
    """Codes come as strings or numbers."""
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an upstream asks to wait; a date is not read."""
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= 86_400 else None


@lru_cache(maxsize=4096)
def host_of(url: str) -> str:
    """Host and port of an address, lower case."""
    return (urlsplit(url).netloc.rpartition("@")[2]).lower()
