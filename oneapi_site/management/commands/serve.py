"""`manage.py serve`: sets up what is missing, then becomes the supervisor of the server's processes (oneapi_site/supervisor.py)."""

import os
import socket
import sys
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import OperationalError, connections

from accounts.first_start import StartRefused
from oneapi_site import datafolder
from oneapi_site.setup import check, set_up


class Command(BaseCommand):
    help = "Sets up what is missing and runs the server on HOST:PORT: relay, console, Celery worker with beat."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--setup-only", action="store_true", help="Prepare database, keys, prices and static files, and do not serve.")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            lock = self.prepare()
            if options["setup_only"]:
                return
            listener = bind(settings.HOST, settings.PORT)
        except (StartRefused, datafolder.Occupied) as refusal:
            self.refuse(str(refusal))
        except OperationalError as error:
            self.refuse(f"The database does not answer: {str(error).strip()}")
        connections.close_all()
        self.say(f"Listening on http://{settings.HOST}:{listener.getsockname()[1]}{settings.FORCE_SCRIPT_NAME or ''}/")
        become_supervisor(listener, lock)

    def prepare(self) -> int | None:
        """Checks, locks, sets up; gives back the lock's descriptor where there is one."""
        check(self.say)
        datafolder.prepare(settings.DATA_DIR, settings.BROKER_DIR)
        lock = datafolder.take(settings.DATA_DIR) if settings.EMBEDDED else None
        set_up(self.say)
        return lock

    def say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def refuse(self, sentence: str) -> NoReturn:
        self.stderr.write(sentence)
        sys.exit(1)


def bind(host: str, port: int) -> socket.socket:
    """The server's socket: bound, not yet listening, so that callers are refused until a process serves. Raises StartRefused."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        raise StartRefused(f"HOST:PORT {host}:{port} cannot be used: {error.strerror or error}.") from None
    listener.set_inheritable(True)
    return listener


def become_supervisor(listener: socket.socket, lock: int | None) -> NoReturn:
    """Replaces this process: same pid, a tenth of the memory."""
    arguments = ["--listener", str(listener.fileno()), "--patience", str(settings.SHUTDOWN_TIMEOUT), "--web", str(settings.WEB_CONCURRENCY)]
    if lock is not None:
        arguments += ["--lock", str(lock)]
    else:
        arguments.append("--overlap")
    if settings.ROLE != "relay":
        arguments.append("--worker")
    path = [str(settings.BASE_DIR), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    os.execv(sys.executable, [sys.executable, "-m", "oneapi_site.supervisor", *arguments])  # noqa: S606  our own module
