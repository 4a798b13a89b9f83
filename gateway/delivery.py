"""From the first content to the charge: what the client gets, what it pays, and what the log says (docs/ledger.md §4 and §5).

The end of an answer is sent only after its charge is committed. From the first byte on a failure is an event in the stream, never followed
by a sign of success.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple

import structlog
from msgspec import Raw

from billing.ledger.errors import NotBooked
from billing.ledger.reserve import Charge, Ledger
from billing.price_rules import Terms
from billing.pricing import Price
from billing.tokens import count_request, count_text, off_loop
from channels_app.attempt import Ask, Opened, TryElsewhere
from channels_app.provider import Credential, Upstream
from gateway.call import EVENT_STREAM, JSON, Call, ClientGone
from gateway.config import RelayConfig
from gateway.facts import Outcome, Served, Timing, Tried, facts_of
from gateway.keys import Caller
from gateway.stream import AFTER_DONE, Pump, Tally
from outbound.transport import TransportError
from wire import sse
from wire.errors import GatewayError, Unavailable, UpstreamFailed, UpstreamUnreachable, render_openai_event
from wire.usage import Usage, normalise

DRAIN_WITHIN = 120.0  # seconds that a stream is read on after its client has left
SUFFIX = 4  # characters of a key that the log keeps

log = structlog.get_logger("gateway.delivery")


class Offer(NamedTuple):
    """Who may serve a model in a group, and on which terms: the same for every request until a price or a channel changes."""

    upstreams: tuple[Upstream, ...]
    terms: dict[int, Terms]  # by channel
    distinct: tuple[tuple[Price, int], ...]  # what callers pay: the different prices with their ratios in parts per million


class Job(NamedTuple):
    """What one admitted request carries along."""

    call: Call
    caller: Caller
    ask: Ask
    model: str
    offer: Offer
    inputs: int  # that are answered each for itself
    charge: Charge
    arrived: float


class Delivery:
    """One request from its first attempt to its charge."""

    def __init__(self, config: RelayConfig, ledger: Ledger, job: Job) -> None:
        self._config = config
        self._ledger = ledger
        self._job = job
        self._call = job.call
        self._ask = job.ask
        self._served: Served | None = None
        self._credential: Credential | None = None
        self._attempt_began = job.arrived
        self._first_token: int | None = None
        self._tried: list[Tried] = []
        self._keepalive: asyncio.Task[None] | None = None
        self._attempting = False
        self._trial: asyncio.Future[Opened] | None = None
        self._opened: Opened | None = None
        self._pump: Pump | None = None

    # --- while there is no content yet ---

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Around a stream: a client that leaves ends the attempts and pays for what was begun; one that waits long gets keep-alives."""
        timer = asyncio.get_running_loop().call_later(self._config.keepalive_after, self._start_keepalive)
        self._call.watch()
        try:
            yield
        except asyncio.CancelledError:
            if not self._call.gone:
                self._abandon("the server stopped", 503)
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            await self._client_left()
            raise ClientGone from None
        finally:
            timer.cancel()
            self._stop_keepalive()
            self._call.unwatch()

    async def open(self, trial: Coroutine[Any, Any, Opened]) -> Opened:
        """Runs an attempt. One at a model that thinks out of sight goes on when the client leaves: only its end tells what it cost."""
        if not (self._ask.stream and self._drains()):
            return await trial
        self._trial = asyncio.ensure_future(trial)
        return await asyncio.shield(self._trial)

    async def _client_left(self) -> None:
        """Reads on where that is due, within bounds, then charges what the upstream produced."""
        if self._drains():
            with suppress(TimeoutError, TransportError, TryElsewhere, GatewayError):
                async with asyncio.timeout(DRAIN_WITHIN):
                    await self._read_on()
        self._abandon("the client left", 499)
        if self._opened is not None:
            await self._opened.close()
        elif self._trial is not None:
            self._trial.cancel()

    async def _read_on(self) -> None:
        if self._opened is None and self._trial is not None:
            self._opened = await self._trial
            self._pump = Pump(self._opened, self._opened.buffered, self._call.write, True, self._answers() > 1)
        if self._pump is not None:
            await self._pump.drain()

    def trying(self, served: Served, credential: Credential) -> None:
        """An attempt begins."""
        self._served = served
        self._credential = credential
        self._attempt_began = time.monotonic()
        self._attempting = True
        self._trial = None

    def failed(self, status: int, message: str, kind: str) -> None:
        """It failed."""
        self._attempting = False
        self._tried.append(self._attempt(status, f"{kind}: {message}"[:300]))

    def _attempt(self, status: int, error: str = "") -> Tried:
        key = self._credential.secret[-SUFFIX:] if self._credential and len(self._credential.secret) > 2 * SUFFIX else ""
        took = int((time.monotonic() - self._attempt_began) * 1000)
        return Tried(self._served.channel_id if self._served else 0, key, status, took, error)

    def _start_keepalive(self) -> None:
        self._keepalive = asyncio.create_task(self._keep_alive(), name="keep-alive")

    async def _keep_alive(self) -> None:
        await self._call.start(200, EVENT_STREAM)
        while True:
            await self._call.write(sse.COMMENT_PING)
            await asyncio.sleep(self._config.keepalive_after)

    def _stop_keepalive(self) -> None:
        if self._keepalive is not None:
            self._keepalive.cancel()
            self._keepalive = None

    def record_failure(self, error: GatewayError, empty: bool = False) -> None:
        """The request failed on every channel: it costs nothing, and the log says why."""
        if self._served is not None:
            self._book(Outcome("empty" if empty else "failed", error.status, None, error=error.message))

    # --- from the first content on ---

    async def deliver(self, opened: Opened) -> None:
        """Sends the answer, settles, sends its end. Raises GatewayError only while nothing was sent."""
        self._opened = opened
        self._tried.append(self._attempt(opened.status))
        self._first_token = self._since_arrival()
        try:
            if self._ask.stream:
                await self._deliver_stream(opened)
            else:
                await self._deliver_plain(opened)
        except asyncio.CancelledError:
            raise  # whoever cancelled decides what becomes of the upstream: `waiting`
        except BaseException:
            await opened.close()
            raise
        else:
            await opened.close()

    async def _deliver_plain(self, opened: Opened) -> None:
        tail = opened.tail
        usage, counted, flags = await self._usage(tail.usage if tail else None, tail.text if tail else "")
        ended = "abandoned" if self._call.left() else "done"
        await self._settle(Outcome(ended, opened.status, usage, counted, flags=flags, upstream_request_id=opened.request_id))
        await self._call.reply(opened.status, opened.body, content_type=opened.content_type or JSON)

    async def _deliver_stream(self, opened: Opened) -> None:
        pump = self._pump = Pump(opened, opened.buffered, self._call.write, opened.hide_usage, self._answers() > 1)
        self._stop_keepalive()
        if not self._call.started:
            await self._call.start(200, EVENT_STREAM)
        broke = ""
        try:
            async with asyncio.timeout(self._config.timeout_total):  # also of a client that does not read
                await pump.run()
        except (TransportError, TimeoutError) as error:
            broke = str(error) or type(error).__name__
        self._call.unwatch()
        if pump.complete:
            await self._finish(opened, pump)
        else:
            await self._break_off(opened, pump, broke)

    async def _finish(self, opened: Opened, pump: Pump) -> None:
        """Everything has come: charge, then the end."""
        usage, counted, flags = await self._usage(pump.usage, pump.tally)
        if pump.malformed:
            flags = (*flags, "malformed")
        outcome = Outcome("done", 200, usage, counted, flags=flags, upstream_request_id=opened.request_id)
        booking = self._book(outcome)
        with suppress(TimeoutError, TransportError):
            async with asyncio.timeout(AFTER_DONE):
                while await opened.next():  # to the connection's own end, so that it is used again
                    continue
        try:
            await self._booked(booking)
        except GatewayError as error:
            await self._call.end(render_openai_event(error, self._call.request_id))
            return
        await self._call.end(pump.tail())

    async def _break_off(self, opened: Opened, pump: Pump, broke: str) -> None:
        """The upstream stopped in mid-answer: input and what was delivered are charged, and the client is told."""
        usage, counted, flags = await self._usage(pump.usage, pump.tally)
        error: GatewayError
        if pump.error is not None:
            error = UpstreamFailed(opened.explain(pump.error))
        else:
            error = UpstreamUnreachable("The upstream broke off in the middle of its answer.")
        outcome = Outcome("partial", 200, usage, counted, broke or error.message, flags, opened.request_id)
        with suppress(GatewayError):
            await self._settle(outcome)
        await self._call.end(render_openai_event(error, self._call.request_id))

    def _abandon(self, why: str, status: int) -> None:
        """Charges what the upstream produced so far: its usage where it has come, else the input and what we saw; nothing where nobody served."""
        if not self._job.charge.open or self._served is None:
            return
        if not self._attempting:
            self._book(Outcome("failed", status, None, error=why))
            return
        pump = self._pump
        usage = self._read_usage(pump.usage) if pump else None
        counted = usage is None
        if usage is None:
            usage = Usage(input=count_request(self._ask.head), output=count_text(pump.tally.text()) if pump else 0)
        if self._first_token is None:
            self._tried.append(self._attempt(0, why))
        self._book(Outcome("abandoned", status, usage, counted, error=why))

    # --- money ---

    def _read_usage(self, raw: Raw | None) -> Usage | None:
        if raw is None or self._served is None:
            return None
        price = self._served.terms.price  # both limits hold for one input and one answer
        context, output = (price.context_limit or 0) * self._job.inputs, (price.output_limit or 0) * self._answers()
        return normalise(raw, context=context, output_limit=output)

    def _answers(self) -> int:
        """Choices that the upstream makes."""
        return self._job.inputs * self._ask.head.answers

    async def _usage(self, raw: Raw | None, produced: str | Tally) -> tuple[Usage, bool, tuple[str, ...]]:
        """The upstream's usage where it is plausible, else our own count; whether we counted; and a flag for nonsense."""
        usage = self._read_usage(raw)
        silent = not self._ask.operation.has_output
        if usage is not None and (silent or usage.total_output):
            return usage, False, ()
        text = produced if isinstance(produced, str) else produced.text()
        if usage is not None and not text:
            return usage, False, ()
        head = self._ask.head
        entered = await off_loop(count_request, head, len(self._ask.body))
        usage = Usage(input=entered, output=0 if silent else await off_loop(count_text, text, len(text)))
        return usage, True, ("bad_usage",) if raw is not None else ()

    async def _settle(self, outcome: Outcome) -> None:
        await self._booked(self._book(outcome))

    async def _booked(self, future: "asyncio.Future[None]") -> None:
        try:
            await future
        except NotBooked:
            raise Unavailable("The answer could not be booked: the database does not answer. Try again.") from None

    def _book(self, outcome: Outcome) -> "asyncio.Future[None]":
        if self._served is None:
            raise AssertionError("booked before an attempt")
        timing = Timing(self._since_arrival(), self._first_token)
        facts = facts_of(self._job.caller, self._ask.operation.value, self._job.model, self._ask.stream, self._served, outcome, timing, self._tried)
        return self._ledger.book(self._job.charge, facts)

    def _since_arrival(self) -> int:
        return int((time.monotonic() - self._job.arrived) * 1000)

    def _drains(self) -> bool:
        """Whether a stream without a client is read to its end: by setting, or because its reasoning is hidden and cannot be counted."""
        return self._config.client_gone == "drain" or self._config.hidden_reasoning(self._job.model)
