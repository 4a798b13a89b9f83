"""One try on one channel: build its request, send it, read up to the first content, judge. Used by the relay and by health tests.

Until this returns nothing has been sent to the client, so that another channel can still be tried.
"""

import asyncio
import math
import re
from typing import Any, NamedTuple

import msgspec

from channels_app.provider import Credential, Operation, Provider, Upstream, Verdict, host_of
from channels_app.registry import PROVIDERS
from outbound.transport import Answer, ConnectFailed, FirstByteTimeout, GapTimeout, Timeouts, TotalTimeout, Transport, TransportError
from wire import sse
from wire.errors import BadRequest, GatewayError, RateLimited, UpstreamFailed, UpstreamTimeout, UpstreamUnreachable, scrub
from wire.peek import Head, Tail, read_answer, read_chunk, with_changes

HOPS_HEADER = "x-oneapi-hops"
USER_AGENT = "oneapi"
ERROR_BYTES = 64 * 1024  # of an error's body that is read
TIMED_OUT = (FirstByteTimeout, GapTimeout, TotalTimeout)
NO_STREAMS = ("application/json", "text/html")  # whatever else is read as events: some servers call them text/plain
BROKE = "The upstream failed in the middle of its answer."
_NAME = re.compile(r"[\w.\[\]/ -]{1,100}")


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request as an attempt needs it. `body` is the client's own bytes."""

    operation: Operation
    head: Head
    body: bytes
    model: str
    stream: bool = False
    wants_usage: bool = False  # the client asked for usage in its stream
    hops: int = 0


class TryElsewhere(Exception):
    """This channel could not serve the request; another may. `error` is what the client gets if none does."""

    def __init__(self, status: int, verdict: Verdict, error: GatewayError) -> None:
        super().__init__(error.message)
        self.status = status  # the upstream's, 0 where it did not answer
        self.verdict = verdict
        self.error = error


class Source(NamedTuple):
    """Where an answer comes from."""

    upstream: Upstream
    credential: Credential
    provider: Provider
    served: str  # the model's name there

    @property
    def secrets(self) -> list[str]:
        """What no text of this upstream may show: its key, its host, the values of its extra headers."""
        host = host_of(self.upstream.base_url or self.provider.base_url)
        secrets = (self.credential.secret, host, host.partition(":")[0], *(value for _, value in self.upstream.extra_headers))
        return [secret for secret in secrets if len(secret) > 3 and secret != self.served]

    def scrub(self, text: str) -> str:
        """A text of the upstream without its key, its host and whatever else its users must not see."""
        return scrub(text, self.secrets)

    def name(self, text: str | None) -> str | None:
        """A code, type or field of the upstream; None where it is more than a name, or holds a secret. `scrub` would garble names."""
        if text is None or not _NAME.fullmatch(text) or any(secret in text for secret in self.secrets):
            return None
        return text

    def failure(self, answer: Answer, body: bytes) -> Exception:
        """What to raise for an error of the upstream, by its status or inside a success."""
        verdict = self.provider.classify(answer.status, answer.headers, body)
        message = self.scrub(verdict.message) or f"The upstream answered with status {answer.status}."
        wait = None if verdict.retry_after is None else max(1, math.ceil(verdict.retry_after))
        code = self.name(verdict.code)
        status = verdict.status if answer.status >= 400 or verdict.kind == "client" else 502
        if verdict.kind == "rate_limited":
            error: GatewayError = RateLimited(f"The upstream is busy: {message}", retry_after=wait or 1, code=code or "rate_limit_exceeded")
        else:
            kind, param = self.name(verdict.type), self.name(verdict.param)
            error = UpstreamFailed(message, status=status, code=code, type=kind, param=param, retry_after=wait)
        return error if verdict.kind == "client" else TryElsewhere(answer.status, verdict, error)


class Opened:
    """An answer that has content. A plain one is read whole (`body`, `tail`); of a stream `buffered` holds the events read so far."""

    def __init__(self, answer: Answer, hide_usage: bool, source: Source) -> None:
        self._answer = answer
        self._splitter = sse.Splitter()
        self._source = source
        self.status = answer.status
        self.content_type = answer.headers.get("content-type", "application/json").encode("latin-1", "replace")
        self.request_id = answer.headers.get("x-request-id", "") or answer.headers.get("request-id", "")
        self.hide_usage = hide_usage
        self.buffered: list[bytes] = []
        self.body = b""
        self.tail: Tail | None = None

    async def next(self) -> list[bytes]:
        """The events that have come since, at least one; none at the end. Raises TransportError."""
        while True:
            data = await self._answer.read()
            if not data:
                rest = self._splitter.rest()
                if rest.strip():  # the last event lacks its blank line
                    self._splitter = sse.Splitter()
                    return [rest + b"\n\n"]
                return []
            try:
                events = self._splitter.feed(data)
            except sse.EventTooLarge as error:
                raise TransportError(str(error)) from None
            if events:
                return events

    async def read_whole(self, limit: int) -> None:
        """Reads a plain answer. Raises TransportError."""
        self.body = await self._answer.read_all(limit)
        self.tail = read_answer(self.body)

    def explain(self, data: bytes) -> str:
        """The message in an error of the upstream, without what its users must not see."""
        try:
            found = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        error = found.get("error") if isinstance(found, dict) else None
        message = error.get("message") if isinstance(error, dict) else error
        return self._source.scrub(message) if isinstance(message, str) and message else BROKE

    async def close(self) -> None:
        """Gives the connection back, or drops it where the answer was not read to its end."""
        await self._answer.close()


async def attempt(
    transport: Transport, upstream: Upstream, credential: Credential, ask: Ask, timeouts: Timeouts, max_answer: int = 256 * 2**20
) -> Opened:
    """The answer, with its first content. Raises TryElsewhere, or a GatewayError that is the client's own fault."""
    provider = PROVIDERS[upstream.provider]
    if ask.operation not in provider.operations:
        raise _elsewhere(0, "elsewhere", UpstreamUnreachable(f"This channel's provider does not offer {ask.operation.value}."))
    served = upstream.name_of(ask.model)
    source = Source(upstream, credential, provider, served)
    body, hide_usage = body_for(upstream, ask, served)
    until = None if timeouts.first is None else asyncio.get_running_loop().time() + timeouts.first
    try:
        answer = await _open(transport, provider, upstream, credential, ask, served, body, timeouts)
    except TransportError as error:
        raise _broken(error) from error
    opened = Opened(answer, hide_usage, source)
    try:
        if not 200 <= answer.status < 300:
            raise await _refused(source, answer)
        if ask.stream:
            await _open_stream(opened, source, answer, max_answer, until)
        else:
            await opened.read_whole(max_answer)
            _check_whole(opened, source, answer)
    except TransportError as error:
        await opened.close()
        raise _broken(error) from error
    except BaseException:
        await opened.close()
        raise
    return opened


async def _open(
    transport: Transport, provider: Provider, upstream: Upstream, credential: Credential, ask: Ask, served: str, body: bytes, timeouts: Timeouts
) -> Answer:
    own = provider.answer(ask.operation, body)
    if own is not None:
        return own
    headers = (
        ("Accept", "text/event-stream" if ask.stream else "application/json"),
        ("User-Agent", USER_AGENT),
        (HOPS_HEADER, str(ask.hops + 1)),
    )
    request = provider.request(upstream, credential, ask.operation, served, body, timeouts, headers)
    expected = host_of(upstream.base_url or provider.base_url)
    if host_of(request.url) != expected:  # a part of the URL that moved the host would send the key elsewhere
        raise ConnectFailed("The channel's address and its base URL name different hosts.")
    return await transport.open(request)


def body_for(upstream: Upstream, ask: Ask, served: str) -> tuple[bytes, bool]:
    """The body to send, the client's own bytes where nothing must change; and whether the stream's usage was asked for by us alone."""
    changes: dict[str, bytes | None] = {}
    if served != ask.head.model:
        changes["model"] = msgspec.json.encode(served)
    hide_usage = ask.stream and not ask.wants_usage
    if hide_usage:
        changes["stream_options"] = _with_usage(ask.head)
    if upstream.system_prompt and ask.operation is Operation.CHAT:
        changes["messages"] = _with_system_prompt(ask.head, upstream.system_prompt)
    return (with_changes(ask.head.fields, changes) if changes else ask.body), hide_usage


def _with_usage(head: Head) -> bytes:
    given = next((raw for name, raw in head.fields if name == "stream_options"), None)
    options: Any = msgspec.json.decode(given) if given is not None else None
    return msgspec.json.encode({**(options or {}), "include_usage": True})


def _with_system_prompt(head: Head, prompt: str) -> bytes:
    """The channel's prompt in place of the first system message, else before all others. Other messages keep their bytes."""
    try:
        messages = msgspec.json.decode(head.messages, type=list[msgspec.Raw])
    except msgspec.DecodeError:
        raise BadRequest("The field 'messages' must be a list of messages.", param="messages") from None
    ours = msgspec.Raw(msgspec.json.encode({"role": "system", "content": prompt}))
    if messages and _role(messages[0]) in {"system", "developer"}:
        messages = messages[1:]
    return msgspec.json.encode([ours, *messages])


def _role(message: msgspec.Raw) -> object:
    try:
        found = msgspec.json.decode(message)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found.get("role") if isinstance(found, dict) else None


async def _refused(source: Source, answer: Answer) -> Exception:
    """What to raise for an error status. A body that breaks off does not hide the status."""
    try:
        body = await answer.read_all(ERROR_BYTES)
    except TransportError:
        body = b""
    return source.failure(answer, body)


async def _open_stream(opened: Opened, source: Source, answer: Answer, max_answer: int, until: float | None) -> None:
    """Reads up to the first content, at most `until` (the loop's time). Raises TryElsewhere, GatewayError, TransportError."""
    try:
        async with asyncio.timeout_at(until):
            if answer.headers.get("content-type", "").lower().startswith(NO_STREAMS):
                await opened.read_whole(max_answer)
                if opened.tail is not None and opened.tail.error is not None:
                    raise source.failure(answer, opened.body)
                raise _elsewhere(answer.status, "elsewhere", UpstreamFailed("The upstream did not answer with a stream."))
            await _first_content(opened, source, answer)
    except TimeoutError:
        raise FirstByteTimeout("No content came in time.") from None


async def _first_content(opened: Opened, source: Source, answer: Answer) -> None:
    """Reads events until one has content; role-only chunks and comments wait with it."""
    while events := await opened.next():
        opened.buffered += events
        for event in events:
            data = sse.data_of(event)
            if data is None:
                continue
            if data.strip() == b"[DONE]":
                raise _empty(answer)
            chunk = read_chunk(data)
            if chunk is None:
                continue
            if chunk.error is not None:
                raise source.failure(answer, data)
            if chunk.content or (chunk.usage is not None and _counts_output(chunk.usage)):
                return
    raise _empty(answer)


def _counts_output(usage: msgspec.Raw) -> bool:
    """Whether a usage says that something was produced, though nothing of it was shown."""
    try:
        found = msgspec.json.decode(usage)
    except (msgspec.DecodeError, RecursionError):
        return False
    count = found.get("completion_tokens") if isinstance(found, dict) else None
    return isinstance(count, int) and count > 0


def _check_whole(opened: Opened, source: Source, answer: Answer) -> None:
    tail = opened.tail
    if tail is not None and tail.error is not None:
        raise source.failure(answer, opened.body)
    if tail is None or not (tail.has_content or (tail.usage is not None and _counts_output(tail.usage))):
        raise _empty(answer)


def _empty(answer: Answer) -> TryElsewhere:
    return _elsewhere(answer.status, "empty", UpstreamFailed("The upstream's answer was empty or cannot be read.", code="empty_answer"))


def _broken(error: TransportError) -> TryElsewhere:
    if isinstance(error, TIMED_OUT):
        return _elsewhere(0, "timeout", UpstreamTimeout())
    return _elsewhere(0, "unreachable", UpstreamUnreachable())


def _elsewhere(status: int, kind: Any, error: GatewayError) -> TryElsewhere:
    return TryElsewhere(status, Verdict(kind, error.message), error)
