"""PostgreSQL and Redis for tests: those of TEST_DATABASE_URL and TEST_REDIS_URL, else private throw-away servers from installed binaries.

`python -m tests.services COMMAND …` runs a command with both variables set and gives back its exit code. fsync stays on: the ledger's promises
are about what is on disk.
"""

import contextlib
import glob
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

START_PATIENCE = 60.0
POSTGRES_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin", "/usr/local/pgsql/bin")


def postgres_binaries() -> Path | None:
    """The folder of the newest installed PostgreSQL server."""
    found = [Path(folder) for place in POSTGRES_PLACES for folder in glob.glob(place) if Path(folder, "initdb").is_file()]
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    return max(found, key=lambda folder: int((re.findall(r"\d+", str(folder)) or ["0"])[0]), default=None)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _as_postgres() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as its own user, or nobody."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    return {}


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise SystemExit(f"{process.args!r} did not start:\n{log.read_text(errors='replace')[-2000:]}")


class Postgres:
    """A private server in a folder of its own; it can be stopped and started again on the same data and port."""

    def __init__(self) -> None:
        found = postgres_binaries()
        if found is None:
            raise SystemExit("The tests need a PostgreSQL server: install it (Debian: apt-get install postgresql), or set TEST_DATABASE_URL.")
        self._binaries = found
        self._folder = Path(tempfile.mkdtemp(prefix="oneapi-postgres-"))
        self._identity = _as_postgres()
        if self._identity:
            shutil.chown(self._folder, int(str(self._identity["user"])), int(str(self._identity["group"])))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"
        initdb = [str(found / "initdb"), "-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust"]
        options = ["-E", "UTF8", "--locale=C", "--no-instructions"]
        subprocess.run([*initdb, *options], check=True, stdout=subprocess.DEVNULL, cwd=self._folder, **self._identity)

    def start(self) -> None:
        """Returns when it answers queries."""
        settings = ["listen_addresses=127.0.0.1", f"port={self.port}", f"unix_socket_directories={self._folder}", "max_connections=300"]
        log = self._folder / "log"
        command = [str(self._binaries / "postgres"), "-D", str(self._folder / "data"), *(part for one in settings for part in ("-c", one))]
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=self._folder, **self._identity)
        _wait(self.port, self._process, log)
        _wait_for_queries(self._binaries, self.port, self._identity)

    @property
    def pid(self) -> int:
        """Of the first process; the others are its children."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT closes open connections first; SIGQUIT does not, and the next start recovers from the log."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stops it for ever."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A private server that runs, with the rights to create databases."""
    server = Postgres()
    try:
        server.start()
        yield server
    finally:
        server.remove()


def _wait_for_queries(binaries: Path, port: int, identity: dict[str, Any]) -> None:
    command = [str(binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    deadline = time.monotonic() + START_PATIENCE
    while subprocess.run(command, check=False, cwd="/", **identity).returncode:
        if time.monotonic() > deadline:
            raise SystemExit("The private PostgreSQL server accepts connections but answers no query.")
        time.sleep(0.1)


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """A private Redis; its URL."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        raise SystemExit("The tests need a Redis server: install it (Debian: apt-get install redis-server), or set TEST_REDIS_URL.")
    folder, port = Path(tempfile.mkdtemp(prefix="oneapi-redis-")), free_port()
    log = folder / "log"
    with log.open("wb") as output:
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait(port, process, log)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def provided() -> Iterator[None]:
    """Both variables are set inside."""
    with contextlib.ExitStack() as stack:
        if not os.environ.get("TEST_DATABASE_URL"):
            os.environ["TEST_DATABASE_URL"] = stack.enter_context(postgres()).url
            stack.callback(os.environ.pop, "TEST_DATABASE_URL")
        if not os.environ.get("TEST_REDIS_URL"):
            os.environ["TEST_REDIS_URL"] = stack.enter_context(redis())
            stack.callback(os.environ.pop, "TEST_REDIS_URL")
        yield


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with provided():
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
