"""The relay's raw ASGI application: which path is which operation, CORS, and every error in the caller's format.

Paths come without the deployment's prefix (oneapi_site/asgi.py). Matching ignores case and doubled slashes, so that no variant of a path
means something else here than to a proxy in front of us.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from channels_app.provider import Operation
from gateway.addresses import client_address
from gateway.call import Call, ClientGone, Receive, Scope, Send
from gateway.endpoints.billing_compat import Account, subscription, usage
from gateway.endpoints.models import list_models, one_model
from gateway.endpoints.price import asked_price, price
from gateway.keys import Caller, authorize
from gateway.limits import Throttle
from gateway.relay import Relay
from wire.errors import GatewayError, NotFound, NotImplementedByUs, Unauthorized, render_openai, render_openai_event

OPERATIONS = {
    "/v1/chat/completions": Operation.CHAT,
    "/v1/completions": Operation.COMPLETIONS,
    "/v1/embeddings": Operation.EMBEDDINGS,
    "/v1/moderations": Operation.MODERATIONS,
}
ENGINE = re.compile(r"/v1/engines/([^/]+)/embeddings")
BARE = ("/chat/completions", "/completions", "/embeddings", "/moderations", "/models")  # clients whose base URL lacks /v1
BILLING = ("/dashboard/billing/subscription", "/dashboard/billing/usage", "/dashboard/billing/price")
# What OpenAI offers and this gateway does not yet: 501, not 404, so that a client can tell.
NOT_OFFERED = re.compile(
    r"/v1/(images|audio|files|fine_tuning|fine-tunes|assistants|threads|batches|uploads|vector_stores|responses|conversations|realtime|videos|"
    r"edits|evals|containers|organization|chatkit|rerank)(/.*)?"
)
METHODS = b"GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
_SLASHES = re.compile(r"/{2,}")
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9_, -]{0,2000}")

log = structlog.get_logger("gateway")


class Figures(Protocol):
    """Where the compatible billing endpoints read a caller's balance and usage."""

    async def __call__(self, caller: Caller) -> Account: ...


def normal(path: str) -> str:
    """The path as routes are written: slashes single, the version once, `/v1` where a client left it away; case kept."""
    if path in OPERATIONS:  # as almost all are
        return path
    path = _SLASHES.sub("/", path)
    while path[:7].lower() == "/v1/v1/":
        path = path[3:]
    lower = path.lower()
    if lower.startswith("/v1/dashboard/"):
        return path[3:]
    if lower in BARE or lower.startswith("/models/"):
        return "/v1" + path
    return path


def handles(path: str) -> bool:
    """Whether the relay answers this path (given without the deployment's prefix)."""
    if path in OPERATIONS:
        return True
    lower = normal(path).lower()
    return lower == "/v1" or lower.startswith("/v1/") or lower.startswith("/dashboard/billing/")


class RelayApp:
    """The relay's front door. `figures` answers the billing endpoints."""

    def __init__(self, relay: Relay, figures: Figures) -> None:
        self.relay = relay
        self._figures = figures
        self._throttle = Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = normal(scope["path"])
        call = Call(scope, receive, send, path)
        try:
            await self._answer(call, path.lower())
        except ClientGone:
            return
        except GatewayError as error:
            await self._fail(call, error)
        except Exception:
            log.exception("relay.failed", request_id=call.request_id)
            await self._fail(call, GatewayError())

    async def _answer(self, call: Call, lower: str) -> None:
        if call.method == "OPTIONS":
            await self._preflight(call)
            return
        operation = OPERATIONS.get(lower) or (Operation.EMBEDDINGS if ENGINE.fullmatch(lower) else None)
        if operation is not None:
            self._expect(call, "POST")
            await self.relay.serve(call, self._caller(call), operation)
            return
        handler = self._reader(lower)
        if handler is not None:
            self._expect(call, "GET", "HEAD")
            await call.reply(200, await handler(call, self._caller(call)))
        elif NOT_OFFERED.fullmatch(lower):
            self._caller(call)
            raise NotImplementedByUs
        else:
            raise NotFound(f"Invalid URL ({call.method} {call.path[:200]}).", code="invalid_url")

    def _reader(self, lower: str) -> Callable[[Call, Caller], Awaitable[bytes]] | None:
        if lower == "/v1/models":
            return self._models
        if lower.startswith("/v1/models/"):
            return self._model
        if lower.rstrip("/") == BILLING[0]:
            return self._subscription
        if lower.rstrip("/") == BILLING[1]:
            return self._usage
        if lower.rstrip("/") == BILLING[2]:
            return self._price
        return None

    def _caller(self, call: Call) -> Caller:
        address = client_address(call.peer, call.headers, self.relay.config.trusted_proxies)
        try:
            return self.relay.caller_of(call, address)
        except Unauthorized:
            # A valid key always passes: many clients may share an address, and guessing 48 random characters leads nowhere.
            self._throttle.check(address)  # RateLimited
            self._throttle.count(address)
            raise

    def _expect(self, call: Call, *methods: str) -> None:
        if call.method not in methods:
            allowed = ", ".join(methods)
            raise GatewayError(
                f"This address takes {allowed}, not {call.method[:20]}.",
                status=405, code="method_not_allowed", type="invalid_request_error", headers={"Allow": allowed},
            )  # fmt: skip

    async def _models(self, call: Call, caller: Caller) -> bytes:
        return list_models(caller, self.relay.snapshots.current)

    async def _model(self, call: Call, caller: Caller) -> bytes:
        return one_model(caller, self.relay.snapshots.current, call.path[len("/v1/models/") :])

    async def _subscription(self, call: Call, caller: Caller) -> bytes:
        return subscription(await self._figures(caller))

    async def _usage(self, call: Call, caller: Caller) -> bytes:
        return usage(await self._figures(caller))

    async def _price(self, call: Call, caller: Caller) -> bytes:
        model, counts = asked_price(call.scope.get("query_string", b""))  # BadRequest
        authorize(caller, model)  # ModelForbidden
        return price(caller, model, self.relay.offer(self.relay.snapshots.current, caller, model), counts)

    async def _preflight(self, call: Call) -> None:
        asked = call.headers.get(b"access-control-request-headers", b"")
        allowed = asked if _HEADER_NAMES.fullmatch(asked) and asked else b"authorization, content-type"
        extra = ((b"access-control-allow-methods", METHODS), (b"access-control-allow-headers", allowed), (b"access-control-max-age", b"86400"))
        await call.start(204, b"text/plain", extra, length=0)
        await call.end()

    async def _fail(self, call: Call, error: GatewayError) -> None:
        if call.finished:
            return
        if call.started:
            await call.end(render_openai_event(error, call.request_id))
            return
        extra = tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items())
        await call.reply(error.status, render_openai(error, call.request_id), extra)
