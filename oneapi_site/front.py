"""What stands before both planes: lifespan, /healthz, the prefix of a sub-path, https behind a proxy, and which plane a path belongs to.

A proxy may strip the prefix or keep it, and neither Django nor uvicorn alone serves both: a path that has the prefix keeps it, one that lacks it
gets it, and the relay always sees the path without. Root path: https://asgi.readthedocs.io/en/latest/specs/www.html#http-connection-scope
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import structlog

from gateway.addresses import Network, client_address, forwarded_prefix, forwarded_scheme

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SOCKET_SCHEMES = {"https": "wss", "http": "ws"}
log = structlog.get_logger(__name__)


class Relay(Protocol):
    """What the front needs of gateway.asgi.RelayApp."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...
    def handles(self, path: str) -> bool: ...
    async def start(self) -> None: ...
    async def stop(self, within: float) -> None: ...


class Front:
    """The ASGI application. `relay` is None in ROLE=console, `console` and `sockets` are None in ROLE=relay."""

    def __init__(
        self,
        relay: Relay | None,
        console: Application | None,
        sockets: Application | None,
        *,
        trusted: tuple[Network, ...],
        prefix: str,
        shutdown_timeout: float,
    ) -> None:
        self.relay = relay
        self.console = console
        self.sockets = sockets
        self.trusted = trusted
        self.prefix = prefix
        self.shutdown_timeout = shutdown_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            return await self.lifespan(receive, send)
        peer, headers = (scope.get("client") or ("", 0))[0], dict(scope["headers"]) if self.trusted else {}
        prefix = self.prefix or forwarded_prefix(peer, headers, self.trusted)
        path = without(prefix, scope["path"])
        if kind == "http":
            if self.relay is not None and self.relay.handles(path):
                return await self.relay({**scope, "path": path, "root_path": ""}, receive, send)
            if path == "/healthz":
                return await answer(send, 200, b'{"status":"ok"}')
        target = self.console if kind == "http" else self.sockets
        if target is None:
            return await (answer(send, 404, b'{"error":"this server has no console"}') if kind == "http" else close(receive, send))
        said = forwarded_scheme(peer, headers, self.trusted)
        scheme = SOCKET_SCHEMES.get(said, scope["scheme"]) if kind == "websocket" else said or scope["scheme"]
        client = (client_address(peer, headers, self.trusted), 0)
        seen = {**scope, "path": prefix + path, "root_path": prefix, "scheme": scheme, "client": client}
        return await target(seen, receive, secured(send) if scheme in {"https", "wss"} else send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Starts the relay before the first request, stops it after the last."""
        await receive()
        if self.relay is not None:
            try:
                await self.relay.start()
            except Exception as error:
                log.exception("the relay cannot start")
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if self.relay is not None:
            await self.relay.stop(self.shutdown_timeout)
        await send({"type": "lifespan.shutdown.complete"})


def without(prefix: str, path: str) -> str:
    """The path below the prefix; a path that lacks it is there already."""
    if prefix and (path == prefix or path.startswith(prefix + "/")):
        return path[len(prefix) :] or "/"
    return path


def secured(send: Send) -> Send:
    """Adds Secure to the cookies of an answer to an https request; the same server may be asked by plain http on the machine itself."""

    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                (name, value + b"; Secure" if name.lower() == b"set-cookie" and b"; secure" not in value.lower() else value)
                for name, value in message.get("headers", ())
            ]
        await send(message)

    return sender


async def answer(send: Send, status: int, body: bytes) -> None:
    """A short JSON answer."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def close(receive: Receive, send: Send) -> None:
    """Refuses a WebSocket: the handshake is answered with 403."""
    await receive()
    await send({"type": "websocket.close", "code": 1000})
