"""One relay process: uvicorn on the socket that the supervisor bound.

Not uvicorn's own command line, because its `--fd` takes the socket for a Unix one, and because a terminal's Ctrl-C reaches every process:
here only the supervisor's SIGTERM counts, so that streams in flight are finished. https://www.uvicorn.org/settings/
"""

import argparse
import os
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn

from oneapi_site.joined_writes import JoiningProtocol
from oneapi_site.parent import tie_to_parent

KEEP_ALIVE = 75  # seconds; above nginx's 60 for idle upstream connections, so that nginx closes first
LARGEST_FRAME = 16 * 2**20


DRAIN = 3.0  # seconds in which callers of a process that leaves are told to connect anew


class Server(uvicorn.Server):
    """Stops at SIGTERM with exit code 0. At SIGUSR1 it leaves in its own time: no new connections, every answer closes its own, and after a
    while the rest, in which a request could otherwise meet a connection that is just being closed. `ready` is told when it serves."""

    def __init__(self, config: uvicorn.Config, ready: int) -> None:
        super().__init__(config)
        self.ready = ready
        self.leaves = False
        self.leave_at = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.ready >= 0:
            os.write(self.ready, b"1")
            os.close(self.ready)

    async def on_tick(self, counter: int) -> bool:
        if self.leaves and not self.leave_at:
            self.leave_at = time.monotonic() + DRAIN
            JoiningProtocol.draining = True
            for server in self.servers:
                server.close()
        if self.leave_at and time.monotonic() >= self.leave_at:
            self.should_exit = True
        return await super().on_tick(counter)

    def leave(self, sig: int, frame: FrameType | None) -> None:
        """Handler of SIGUSR1."""
        self.leaves = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGINT:
            self.should_exit = True


def configure() -> uvicorn.Config:
    """How uvicorn runs; forwarded headers are judged by oneapi_site/front.py, not by uvicorn."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oneapi_site.settings")
    from django.conf import settings  # noqa: PLC0415  after the settings module is named

    return uvicorn.Config(
        "oneapi_site.asgi:application",
        loop="uvloop",
        http=JoiningProtocol,
        ws="websockets-sansio",
        ws_max_size=LARGEST_FRAME,
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.SHUTDOWN_TIMEOUT),
    )


def main() -> None:
    """Entry point: `python -m oneapi_site.web --listener FD`."""
    tie_to_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--ready", type=int, default=-1)
    options = parser.parse_args()
    listener = socket.socket(fileno=options.listener)
    server = Server(configure(), options.ready)
    signal.signal(signal.SIGUSR1, server.leave)
    server.run(sockets=[listener])
    sys.exit(0 if server.started else 3)


if __name__ == "__main__":
    main()
