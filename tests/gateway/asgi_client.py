"""A client inside the process: one request through an ASGI application, whose side of the protocol is checked on the way."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gateway.call import Message, Receive, Scope, Send

PATIENCE = 30.0  # seconds: an answer that takes longer hangs


class Answer(NamedTuple):
    """A whole answer. Header names are as sent, which must be lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """The error, after a look at its shape: OpenAI's, with the request id."""
        assert self.headers["content-type"] == "application/json"
        shape = self.json()
        assert set(shape) == {"error"}
        error: dict[str, Any] = shape["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        assert isinstance(error["code"], str)
        assert self.headers["x-request-id"] in error["message"]
        return error


def scope_of(method: str, path: str, headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]], peer: str) -> Scope:
    """A connection scope as a server makes it: the path decoded, header names in lower case."""
    if isinstance(headers, Mapping):
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": path, "headers": list(headers), "query_string": b"", "client": (peer, 50000), "scheme": "http"}


class Client:
    """What the application reads and writes. After the body `receive` waits, as a server's does, until the client leaves."""

    def __init__(self, pieces: Sequence[bytes], leaves: bool = False) -> None:
        self._pieces = list(pieces) or [b""]
        self._leaves = leaves  # in the middle of its body
        self.gone = asyncio.Event()
        self.read = 0  # bytes that the application asked for
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        """The next piece of the body."""
        if not self._pieces:
            await self.gone.wait()
            return {"type": "http.disconnect"}
        piece = self._pieces.pop(0)
        self.read += len(piece)
        if self._leaves and not self._pieces:
            self.gone.set()
        return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or self._leaves}

    async def send(self, message: Message) -> None:
        """Takes one message, in the only order that there is."""
        if message["type"] == "http.response.start":
            assert not self.sent, "a second status"
            assert all(name == name.lower() for name, _ in message["headers"])
        else:
            assert message["type"] == "http.response.body"
            assert self.sent, "a body without a status"
            assert self.sent[-1]["type"] == "http.response.start" or self.sent[-1].get("more_body"), "more after the end"
        self.sent.append(message)

    def answer(self, method: str = "GET") -> Answer:
        """What was sent, which must be whole."""
        assert self.sent, "no answer"
        assert not self.sent[-1].get("more_body"), "no end"
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in self.sent[0]["headers"]}
        body = b"".join(message.get("body", b"") for message in self.sent[1:])
        if "content-length" in headers and method != "HEAD":
            assert int(headers["content-length"]) == len(body)
        return Answer(self.sent[0]["status"], headers, body)


async def ask(
    app: Any,
    method: str,
    path: str,
    *,
    key: str = "",
    headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] = (),
    body: bytes | Sequence[bytes] = b"",
    peer: str = "192.0.2.1",
) -> Answer:
    """One request to its end. `key` becomes a bearer; `body` in pieces arrives piece by piece."""
    given = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()] if isinstance(headers, Mapping) else list(headers)
    if key:
        given.append((b"authorization", f"Bearer {key}".encode("latin-1")))
    client = Client([body] if isinstance(body, bytes) else body)
    await run(app, scope_of(method, path, given, peer), client.receive, client.send)
    return client.answer(method)


async def run(app: Any, scope: Scope, receive: Receive, send: Send) -> None:
    """Runs the application, and fails where it hangs."""
    async with asyncio.timeout(PATIENCE):
        await app(scope, receive, send)
