"""The life of a request, readable top to bottom: authenticate, read, authorize, admit, route, reserve, attempt, deliver, settle.

Each step names the errors that it can raise; `asgi.py` alone renders them. Nothing here knows Django.
"""

import datetime
import math
import time
from collections.abc import Sequence

import msgspec
import structlog

from billing.bounds import allowed_tool_calls, without_output, worst_amount, worst_case
from billing.ledger.errors import Closed, NotEnough
from billing.ledger.records import BalanceKey
from billing.ledger.reserve import Ledger
from billing.periods import Calendar, period_of
from billing.tokens import count_request, off_loop
from channels_app.attempt import HOPS_HEADER, Ask, Opened, TryElsewhere, attempt
from channels_app.provider import Credential, Operation, Upstream
from channels_app.routing import route
from gateway.call import Call
from gateway.config import RelayConfig
from gateway.delivery import Delivery, Job, Offer
from gateway.facts import Served
from gateway.keys import Caller, authenticate, authorize, find_key
from gateway.limits import Gate
from gateway.snapshot import GroupRow, Snapshot, Snapshots
from outbound.transport import Timeouts, Transport
from wire.errors import (
    BadRequest,
    BudgetExhausted,
    ChannelPinForbidden,
    GatewayError,
    LoopDetected,
    ModelMissing,
    ModelNotFound,
    NoChannel,
    QuotaExhausted,
    Unavailable,
    Unpriced,
)
from wire.peek import Head, TextSize, read_head, text_size
from wire.usage import Usage

HOPS = HOPS_HEADER.encode()
DEFAULT_MODERATION = "omni-moderation-latest"
BUDGETS = {
    "token_day": "The daily budget of this API key", "token_week": "The weekly budget of this API key",
    "token_month": "The monthly budget of this API key", "user_day": "Your daily budget", "user_week": "Your weekly budget",
    "user_month": "Your monthly budget",
}  # fmt: skip
REQUIRED = {Operation.CHAT: "messages", Operation.EMBEDDINGS: "input", Operation.MODERATIONS: "input", Operation.COMPLETIONS: "prompt"}

log = structlog.get_logger("gateway.relay")


class Relay:
    """One a process."""

    def __init__(self, config: RelayConfig, snapshots: Snapshots, ledger: Ledger, transport: Transport) -> None:
        self.config = config
        self.snapshots = snapshots
        self.ledger = ledger
        self.transport = transport
        self.gate = Gate(config.max_in_flight, config.max_bytes_in_flight)
        self._calendar = Calendar(config.time_zone)
        self._timeouts = Timeouts(config.timeout_connect, config.timeout_first_token, config.timeout_gap, config.timeout_total)
        self._offers: dict[tuple[str, str], Offer] = {}
        self._offers_of = -1
        self._offers_until = 0.0

    def caller_of(self, call: Call, client_ip: str) -> Caller:
        """Who asks. Raises Unauthorized, UserBanned, AddressForbidden, ChannelPinForbidden."""
        return authenticate(find_key(call.headers), client_ip, self.snapshots.current, time.time())

    async def serve(self, call: Call, caller: Caller, operation: Operation) -> None:
        """One request for a model. Raises GatewayError as long as nothing was sent; afterwards failures are events of the stream."""
        arrived = time.monotonic()
        self.check_hops(call)
        with self.gate.enter() as entry:  # Unavailable
            body = await call.body(self.config.max_body_bytes, entry.add_bytes)  # BodyTooLarge, UnsupportedMedia, ClientGone, Unavailable
            ask, model = read_ask(call, operation, body)  # BadRequest
            authorize(caller, model)  # ModelForbidden
            offer = self.offer(self.snapshots.current, caller, model)  # ModelNotFound, NoChannel, Unpriced
            size = text_size(ask.head)  # BadRequest
            worst = self.worst_case(offer, ask, model, size)
            amount, floor = amounts(offer, worst)
            try:
                async with self.ledger.reserve(self.balances_of(caller), amount, floor, lambda: counted_floor(offer, ask, worst)) as charge:
                    call.request_id = charge.id.hex
                    await self.forward(Job(call, caller, ask, model, offer, inputs_of(ask, size), charge, arrived))
            except NotEnough as refusal:
                raise self.quota_exhausted(refusal, amount) from None
            except Closed as closed:
                raise Unavailable(f"The gateway takes no new requests: {closed.reason}.", retry_after=closed.retry_after) from None

    async def forward(self, job: Job) -> None:
        """Serves one admitted request."""
        delivery = Delivery(self.config, self.ledger, job)
        if job.ask.stream:
            async with delivery.waiting():  # the client may leave, and gets keep-alives
                await self.try_all(job, delivery)
        else:
            await self.try_all(job, delivery)

    async def try_all(self, job: Job, delivery: Delivery) -> None:
        """Tries the candidates one after the other until one has content, then delivers."""
        first_attempt = time.monotonic()
        last: TryElsewhere | None = None
        for number, (upstream, credential) in enumerate(route(job.offer.upstreams)):
            late = time.monotonic() - first_attempt > self.config.retry_within
            if number >= self.config.max_attempts or (number and late) or (number and job.caller.pinned_channel):
                break
            served = Served(upstream.id, credential.id, upstream.name_of(job.model), job.offer.terms[upstream.id])
            delivery.trying(served, credential)
            try:
                opened = await delivery.open(self.attempt(upstream, credential, job.ask))
            except TryElsewhere as failure:
                last = failure
                delivery.failed(failure.status, failure.error.message, failure.verdict.kind)
                log.info("attempt.failed", channel=upstream.id, status=failure.status, kind=failure.verdict.kind, error=failure.error.message)
                continue
            except GatewayError as error:  # the client's own fault: no other channel would take it
                delivery.failed(error.status, error.message, "client")
                delivery.record_failure(error)
                raise
            await delivery.deliver(opened)
            return
        reason = last.error if last is not None else NoChannel()
        delivery.record_failure(reason, empty=last is not None and last.verdict.kind == "empty")
        raise reason

    async def attempt(self, upstream: Upstream, credential: Credential, ask: Ask) -> Opened:
        """One try. Raises TryElsewhere, or a GatewayError that is the client's own fault."""
        return await attempt(self.transport, upstream, credential, ask, self.timeouts_of(upstream), self.config.max_answer_bytes)

    def check_hops(self, call: Call) -> None:
        """Raises LoopDetected where the request has passed too many gateways of our kind."""
        if hops_of(call) > self.config.max_hops:
            raise LoopDetected

    def offer(self, snapshot: Snapshot, caller: Caller, model: str) -> Offer:
        """The candidates for a model with their prices. Raises ModelNotFound, NoChannel, Unpriced, ChannelPinForbidden."""
        now = self.ledger.now()
        if caller.pinned_channel is not None:
            return self._pinned(snapshot, caller, model, now)
        if self._offers_of != snapshot.version or now >= self._offers_until:
            self._offers.clear()
            self._offers_of = snapshot.version
            self._offers_until = snapshot.rules.next_start(now)
        key = (caller.group.name, model)
        offer = self._offers.get(key)
        if offer is None:
            upstreams = snapshot.candidates(*key)
            if not upstreams:
                if snapshot.knows_model(model):
                    raise NoChannel(f"No channel serves the model '{model[:100]}' in the group '{key[0]}' now.")
                raise ModelNotFound(f"The model '{model[:100]}' does not exist here. GET /v1/models lists those that do.")
            offer = self._offers[key] = self._price(snapshot, upstreams, caller.group, model, now)
        return offer

    def _pinned(self, snapshot: Snapshot, caller: Caller, model: str, now: float) -> Offer:
        channel = caller.pinned_channel or 0
        upstream = snapshot.upstreams.get(channel)
        if upstream is None and channel in snapshot.disabled:
            raise ChannelPinForbidden(f"Channel {channel} is disabled.")
        if upstream is None:
            raise BadRequest(f"There is no channel {channel}.", code="no_such_channel")
        return self._price(snapshot, (upstream,), caller.group, model, now)

    def _price(self, snapshot: Snapshot, upstreams: Sequence[Upstream], group: GroupRow, model: str, now: float) -> Offer:
        terms = {}
        for upstream in upstreams:
            found = snapshot.book.terms(model, upstream.name_of(model), group.name, group.ratio_ppm, upstream.id, now, self.config.unpriced)
            if found is not None:
                terms[upstream.id] = found
        if not terms:
            raise Unpriced(f"The model '{model[:100]}' has no price yet. Ask the operator to set one, or use another model.")
        distinct = tuple(dict.fromkeys((one.price, one.ratio_ppm) for one in terms.values()))
        return Offer(tuple(upstream for upstream in upstreams if upstream.id in terms), terms, distinct)

    def balances_of(self, caller: Caller) -> list[BalanceKey]:
        """The balances that pay: the token's limit first, then the wallet, then the budgets of the token and of the user."""
        keys = [] if caller.token.unlimited else [BalanceKey("token", caller.token.id)]
        if not caller.user.unlimited:
            keys.append(BalanceKey("wallet", caller.user.id))
        if budgets := self.snapshots.current.budgets:
            running = self._calendar.running(self.ledger.now())
            for owner in (("token", caller.token.id), ("user", caller.user.id)):
                keys += [BalanceKey(kind, owner[1], running[period_of(kind)].first) for kind in budgets.get(owner, ())]
        return keys

    def quota_exhausted(self, refusal: NotEnough, amount: int) -> QuotaExhausted:
        """The refusal with its figures in dollars."""
        figures = f"This request may cost up to ${amount / 1e9:.6f}, and ${max(0, refusal.left) / 1e9:.6f} is left"
        if refusal.kind == "wallet":
            return QuotaExhausted(f"The balance is not enough. {figures}. Add credit, or ask for less output with 'max_tokens'.")
        if refusal.kind == "token":
            return QuotaExhausted(f"The limit of this API key is used up. {figures} of it.", code="pre_consume_token_quota_failed")
        now = self.ledger.now()
        ends = self._calendar.running(now)[period_of(refusal.kind)].ends
        begins = datetime.datetime.fromtimestamp(ends, self.config.time_zone).isoformat(timespec="seconds")
        return BudgetExhausted(f"{BUDGETS[refusal.kind]} is used up. {figures} of it. It begins anew at {begins}.", retry_after=math.ceil(ends - now))

    def worst_case(self, offer: Offer, ask: Ask, model: str, size: TextSize) -> Usage:
        """More than the request can use, at the widest limits among the candidates."""
        head = ask.head
        asked_output = head.max_completion_tokens if head.max_completion_tokens is not None else head.max_tokens
        answers, asked_output = (head.answers, asked_output) if ask.operation.has_output else (1, 0)
        inputs = inputs_of(ask, size)
        calls = allowed_tool_calls(head) * head.answers if any(price.per_tool_call for price, _ in offer.distinct) else 0
        cases = [
            worst_case(
                price,
                size,
                len(ask.body),
                asked_output,
                answers * inputs,
                default_context=self.config.default_context,
                default_max_output=self.config.default_max_output,
                model=model,
                prompts=inputs,
                tool_calls=calls,
            )
            for price, _ in offer.distinct
        ]
        return max(cases, key=lambda usage: usage.total_input + usage.total_output)

    def timeouts_of(self, upstream: Upstream) -> Timeouts:
        """The four timeouts; a channel's settings may say otherwise."""
        own = upstream.settings.get("timeouts")
        if not isinstance(own, dict):
            return self._timeouts
        base = self._timeouts
        return Timeouts(own.get("connect", base.connect), own.get("first", base.first), own.get("gap", base.gap), own.get("total", base.total))


def amounts(offer: Offer, worst: Usage) -> tuple[int, int]:
    """(what is set aside, the part of it that must fit even in the last cents), in nano-dollars."""
    return worst_amount(offer.distinct, worst), worst_amount(offer.distinct, without_output(worst))


async def counted_floor(offer: Offer, ask: Ask, worst: Usage) -> int:
    """The part that must fit in the last cents, with its text counted instead of bounded: nano-dollars."""
    bound = without_output(worst)
    text = min(bound.input, await off_loop(count_request, ask.head, len(ask.body)))
    return worst_amount(offer.distinct, msgspec.structs.replace(bound, input=text))


def read_ask(call: Call, operation: Operation, body: bytes) -> tuple[Ask, str]:
    """The request as far as we read it, and the model asked for. Raises BadRequest and its kin."""
    head: Head = read_head(body)
    model = head.model
    if model is None and operation is Operation.MODERATIONS:
        model = DEFAULT_MODERATION
    if model is None and call.path.lower().startswith("/v1/engines/"):
        model = call.path.split("/")[3]
    if not model:
        raise ModelMissing
    field = REQUIRED[operation]
    if not memoryview(getattr(head, field)):
        raise BadRequest(f"The field '{field}' is required.", code="missing_required_parameter", param=field)
    wants_usage = head.stream_options is not None and bool(head.stream_options.include_usage)
    stream = bool(head.stream) and operation.has_output
    return Ask(operation=operation, head=head, body=body, model=model, stream=stream, wants_usage=wants_usage, hops=hops_of(call)), model


def inputs_of(ask: Ask, size: TextSize) -> int:
    """Inputs that are answered each for itself: of a list of embeddings, moderations or legacy completions."""
    return 1 if ask.operation is Operation.CHAT else max(1, size.messages)


def hops_of(call: Call) -> int:
    """How many gateways of our kind this request has passed."""
    text = call.header(HOPS)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
