"""Puts the two planes together: relay paths to the raw relay, everything else to Django, WebSockets to Channels. ROLE leaves one plane out."""

from typing import Any, cast

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.urls import re_path

from oneapi_site.data_plane import DataPlane, relay_config
from oneapi_site.front import Front, Receive, Scope, Send, close


async def no_such_socket(scope: Scope, receive: Receive, send: Send) -> None:
    """Any WebSocket path that no consumer serves."""
    await close(receive, send)


websocket_urlpatterns = [re_path(r"", cast(Any, no_such_socket))]  # Channels takes ASGI applications where Django takes views


def build(console: Any) -> Front:
    """The application of a process, by ROLE. `console` is Django's ASGI handler."""
    config = relay_config(settings)
    relay = None if settings.ROLE == "console" else DataPlane(settings, config)
    sockets = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(websocket_urlpatterns)))
    with_console = settings.ROLE != "relay"
    return Front(
        relay,
        console if with_console else None,
        sockets if with_console else None,
        trusted=config.trusted_proxies,
        prefix=settings.FORCE_SCRIPT_NAME or "",
        shutdown_timeout=settings.SHUTDOWN_TIMEOUT,
    )
