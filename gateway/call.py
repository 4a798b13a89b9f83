"""The client's side of one request: its headers, its body within bounds, and what is sent back to it. Raw ASGI.

https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from billing.ledger.records import uuid7
from wire.errors import BadRequest, BodyTooLarge, UnsupportedMedia

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CORS = ((b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", b"x-request-id, retry-after"))
JSON = b"application/json"
EVENT_STREAM = b"text/event-stream; charset=utf-8"
INFLATE_STEP = 2**20  # bytes decompressed at once, between looks at the bound


class ClientGone(Exception):
    """The client closed its connection before its body was read."""


class Call:
    """One request."""

    __slots__ = ("_receive", "_request_id", "_send", "_watcher", "finished", "gone", "headers", "method", "path", "peer", "scope", "started")

    def __init__(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.path = path
        self.headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            self.headers[name] = self.headers[name] + b", " + value if name in self.headers else value
        self.peer: str = (scope.get("client") or ("", 0))[0]
        self._request_id = ""
        self.started = False  # the status has gone out
        self.finished = False
        self.gone = False
        self._receive = receive
        self._send = send
        self._watcher: asyncio.Task[None] | None = None

    @property
    def request_id(self) -> str:
        """What the client and the log know this request by: the charge's id once it was admitted."""
        if not self._request_id:
            self._request_id = uuid7(time.time_ns() // 1_000_000).hex
        return self._request_id

    @request_id.setter
    def request_id(self, value: str) -> None:
        self._request_id = value

    def header(self, name: bytes) -> str:
        """A request header as text, "" where it is missing."""
        return self.headers.get(name, b"").decode("latin-1")

    async def body(self, limit: int, arrived: Callable[[int], None] | None = None) -> bytes:
        """The whole body, decompressed, at most `limit` bytes before and after. `arrived` is told the size of each piece, and may refuse it.

        Raises BodyTooLarge, UnsupportedMedia, BadRequest, ClientGone.
        """
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and (len(declared) > 18 or int(declared) > limit):  # int() takes no thousands of digits
            raise BodyTooLarge
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                raise ClientGone
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise BodyTooLarge
            if arrived is not None:
                arrived(len(piece))
            pieces.append(piece)
            if not message.get("more_body"):
                break
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        encoding = self.headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding in {b"identity", b""}:
            return body
        if encoding not in {b"gzip", b"x-gzip"}:
            raise UnsupportedMedia
        return await asyncio.to_thread(inflate, body, limit)

    async def start(self, status: int, content_type: bytes, extra: tuple[tuple[bytes, bytes], ...] = (), length: int | None = None) -> None:
        """Sends status and headers. Without a length the answer is a stream, which no proxy may hold back."""
        headers = [(b"content-type", content_type), (b"x-request-id", self.request_id.encode()), *CORS, *extra]
        if length is None:
            headers += ((b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
        elif status != 204:  # which has no body, nor a length of it: RFC 9110 §8.6
            headers.append((b"content-length", b"%d" % length))
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        """Sends a part of a stream."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Sends the last part."""
        self.finished = True
        await self._send({"type": "http.response.body", "body": data})

    async def reply(self, status: int, body: bytes, extra: tuple[tuple[bytes, bytes], ...] = (), content_type: bytes = JSON) -> None:
        """A whole answer; its body is left out for HEAD, and there is none with 204."""
        await self.start(status, content_type, extra, length=len(body))
        await self.end(b"" if self.method == "HEAD" else body)

    def watch(self) -> None:
        """From now on a client that leaves cancels the task that serves it, with `gone` set."""
        self._watcher = asyncio.create_task(self._watch(asyncio.current_task()), name="client-watch")

    async def _watch(self, serving: "asyncio.Task[Any] | None") -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if serving is not None and not self.finished:
            serving.cancel()

    def unwatch(self) -> None:
        """What follows is not interrupted any more: settling, and the end of the answer."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def left(self) -> bool:
        """Whether the client is gone, asked without waiting: one step of `receive`, which either has a message or would block."""
        if self.gone:
            return True
        step: Any = self._receive()
        try:
            step.send(None)
        except StopIteration as done:
            self.gone = done.value["type"] == "http.disconnect"
        else:
            step.close()
        return self.gone


def inflate(body: bytes, limit: int) -> bytes:
    """A gzip body decompressed, never more than `limit` bytes. Raises BodyTooLarge, BadRequest."""
    inflater = zlib.decompressobj(wbits=31)
    pieces: list[bytes] = []
    size = 0
    rest = body
    try:
        while rest and not inflater.eof:
            piece = inflater.decompress(rest, INFLATE_STEP)
            size += len(piece)
            if size > limit:
                raise BodyTooLarge
            pieces.append(piece)
            rest = inflater.unconsumed_tail
    except zlib.error as error:
        raise BadRequest(f"The body is not valid gzip: {error}. Compress it again, or send it plain.", code="invalid_gzip") from None
    if not inflater.eof or inflater.unused_data:
        raise BadRequest("The body's gzip data is cut or followed by other bytes. Compress it again, or send it plain.", code="invalid_gzip")
    return b"".join(pieces)
