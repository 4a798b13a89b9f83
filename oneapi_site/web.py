"""One relay process: uvicorn on the socket that the supervisor bound.

Not uvicorn's own command line, because its `--fd` takes the socket for a Unix one, and because a terminal's Ctrl-C reaches every process:
here only the supervisor's SIGTERM counts, so that streams in flight are finished. https://www.uvicorn.org/settings/
"""

import argparse
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from oneapi_site.joined_writes import JoiningProtocol
from oneapi_site.parent import tie_to_parent

KEEP_ALIVE = 75  # seconds; above nginx's 60 for idle upstream connections, so that nginx closes first
LARGEST_FRAME = 16 * 2**20


class Server(uvicorn.Server):
    """Stops at SIGTERM with exit code 0."""

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
    listener = socket.socket(fileno=parser.parse_args().listener)
    server = Server(configure())
    server.run(sockets=[listener])
    sys.exit(0 if server.started else 3)


if __name__ == "__main__":
    main()
