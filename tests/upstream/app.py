"""The simulator's ASGI application: checks a request as the real API does, then answers it, well or as a fault says."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from tests.upstream import answers, validation
from tests.upstream.errors import ORGANISATION, ApiError, usual_error
from tests.upstream.faults import NONE
from tests.upstream.received import Received
from tests.upstream.state import State

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
PLAIN = {
    "chat/completions": answers.chat,
    "completions": answers.completion,
    "embeddings": answers.embeddings,
    "moderations": answers.moderation,
}
STREAMED = {"chat/completions": False, "completions": True}  # and whether in the legacy format
GARBAGE = {"x-odd": "\u00e9" * 50, "x-long": "a" * 4000, "server": "odd/1.0 (very)"}


class Cut(Exception):
    """The connection breaks here."""


class Exchange:
    """One request and its answer."""

    def __init__(self, state: State, received: Received, send: Send) -> None:
        self._state = state
        self._received = received
        self._send = send
        self.fault = NONE
        self.is_good = False

    async def answer(self) -> None:
        """Checks, then answers. Raises ApiError, Cut."""
        ask = self._checked()
        self.fault = fault = self._state.fault_for(self._received)
        await asyncio.sleep(fault.slow_head)
        if fault.silent_head:
            await self._stall()
        if fault.answers_error:
            await self.whole(fault.status or 500, as_json({"error": fault.error if fault.error is not None else usual_error(fault.status or 500)}))
        elif ask is None:
            await self._models()
        elif ask.get("stream") and self._path in STREAMED and not fault.ignores_stream:
            await self._stream(ask)
        else:
            await self.whole(200, fault.body if fault.body is not None else as_json(PLAIN[self._path](ask, fault)))
            self.is_good = True

    @property
    def _path(self) -> str:
        return self._received.path.removeprefix("/v1/")

    def _checked(self) -> dict[str, Any] | None:
        """The body of a POST, in which all is as documented; None for a list of models. Raises ApiError."""
        received = self._received
        if not received.key:
            raise ApiError(401, "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth.")
        if received.key not in self._state.keys:
            raise ApiError(401, f"Incorrect API key provided: {received.key[:6]}{'*' * 8}{received.key[-4:]}.", code="invalid_api_key")
        lists = self._path == "models" or self._path.startswith("models/")
        if not lists and self._path not in PLAIN:
            raise ApiError(404, f"Invalid URL ({received.method} {received.path})")
        if received.method != ("GET" if lists else "POST"):
            raise ApiError(405, f"Not allowed to {received.method} on {received.path}.", code="method_not_supported")
        if lists:
            return None
        if received.header("content-type").partition(";")[0].strip().lower() != "application/json":
            raise ApiError(415, "Unsupported Content-Type. This API method only accepts 'application/json' requests.")
        ask = validation.parsed(received.body)
        validation.check(self._path, ask)
        model = ask.get("model")
        if model is not None and model not in self._state.models:
            raise ApiError(404, f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found")
        return ask

    async def _models(self) -> None:
        name = self._path.removeprefix("models").strip("/")
        if name and name not in self._state.models:
            raise ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")
        shown = [{"id": model, "object": "model", "created": 1_700_000_000, "owned_by": "system"} for model in sorted(self._state.models)]
        found = next(row for row in shown if row["id"] == name) if name else {"object": "list", "data": shown}
        await self.whole(200, as_json(found))
        self.is_good = True

    async def whole(self, status: int, body: bytes) -> None:
        """A plain answer."""
        fault = self.fault
        await self._begin(status, "application/json", len(body))
        await asyncio.sleep(fault.slow_first)
        if fault.stall_after is not None or fault.cut_after is not None:
            await self._write(body[: len(body) // 2])
            if fault.cut_after is not None:
                raise Cut
            await self._stall()
            body = body[len(body) // 2 :]
        await self._write(body)
        await self._send({"type": "http.response.body", "body": b""})

    async def _begin(self, status: int, content_type: str, length: int | None = None) -> None:
        fault = self.fault
        named = {"x-request-id": f"req_{id(self):x}", "openai-organization": ORGANISATION, "openai-processing-ms": "5"}
        kind = content_type if fault.content_type is None else fault.content_type
        if kind:
            named["content-type"] = kind
        if length is not None:
            named["content-length"] = str(length)
        if fault.retry_after is not None:
            named["retry-after"] = str(fault.retry_after)
        named |= {**(GARBAGE if fault.garbage_headers else {}), **{name.lower(): value for name, value in fault.headers.items()}}
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _write(self, data: bytes) -> None:
        """At once, or byte by byte."""
        size = 1 if self.fault.split_every_byte else max(1, len(data))
        for start in range(0, len(data), size):
            await self._send({"type": "http.response.body", "body": data[start : start + size], "more_body": True})
            if size == 1:
                await asyncio.sleep(0)

    async def _stream(self, ask: dict[str, Any]) -> None:
        fault, sent = self.fault, 0
        await self._begin(200, "text/event-stream; charset=utf-8")
        await asyncio.sleep(fault.slow_first)
        waiting = b""
        for event in answers.events(ask, fault, legacy=STREAMED[self._path]):
            if event.kind == "role" and fault.role_only_forever:
                await self._forever(event.data)
            if event.kind not in {"role", "filter"}:
                await self._deviate(sent)
            if event.kind == "content":
                await asyncio.sleep(fault.chunk_delay if sent else fault.slow_content)
                sent += 1
            if fault.one_write:
                waiting += self._frame(event.data)
            else:
                await self._write(self._frame(event.data))
        await self._write(waiting)
        await self._send({"type": "http.response.body", "body": b""})
        self.is_good = True

    def _frame(self, data: str) -> bytes:
        end = "\r\n" if self.fault.crlf else "\n"
        comment = f": ping{end}{end}" if self.fault.comments else ""
        return f"{comment}data: {data}{end}{end}".encode()

    async def _forever(self, role: str) -> None:
        while True:
            await self._write(self._frame(role) + b": still here\n\n")
            await asyncio.sleep(0.02)

    async def _deviate(self, sent: int) -> None:
        """What goes wrong after so many chunks with content."""
        fault = self.fault
        if fault.malformed_chunk == sent:
            await self._write(self._frame('{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"conte'))
        if fault.error_in_stream == sent:
            await self._write(self._frame(json.dumps({"error": fault.error if fault.error is not None else usual_error(500)})))
            await self._send({"type": "http.response.body", "body": b""})
            raise Cut
        if fault.cut_after == sent:
            raise Cut
        if fault.stall_after == sent:
            await self._stall()

    async def _stall(self) -> None:
        while not self.fault.is_released:  # noqa: ASYNC110  it is released in another thread
            await asyncio.sleep(0.01)


async def serve(state: State, scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """One request of ASGI."""
    pieces = []
    while (message := await receive())["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    else:
        return
    received = Received.of(scope, b"".join(pieces))
    state.requests.append(received)
    state.open += 1
    try:
        await _until_gone(state, Exchange(state, received, send), receive)
    finally:
        state.open -= 1


async def _until_gone(state: State, exchange: Exchange, receive: Receive) -> None:
    """Answers; a client that hangs up ends it. An application that ends before its answer does makes uvicorn close the connection: a cut."""
    work = asyncio.ensure_future(_answered(state, exchange))
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
        else:
            state.aborted += 1
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


async def _answered(state: State, exchange: Exchange) -> None:
    try:
        await exchange.answer()
    except ApiError as refused:
        state.refused.append(str(refused))
        await exchange.whole(refused.status, as_json(refused.body))
    except Cut:
        await asyncio.sleep(0.01)  # what was written goes out first
        return
    if exchange.is_good:
        state.served += 1


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def as_json(value: Any) -> bytes:
    """As the real API writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
