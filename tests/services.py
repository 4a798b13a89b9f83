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


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """A private server; its URL, with the rights to create databases."""
    binaries = postgres_binaries()
    if binaries is None:
        raise SystemExit("The tests need a PostgreSQL server: install it (Debian: apt-get install postgresql), or set TEST_DATABASE_URL.")
    folder = Path(tempfile.mkdtemp(prefix="oneapi-postgres-"))
    identity = _as_postgres()
    if identity:
        shutil.chown(folder, int(str(identity["user"])), int(str(identity["group"])))
    data, log, port = folder / "data", folder / "log", free_port()
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-instructions"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **identity)
    settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", f"unix_socket_directories={folder}", "-c", "max_connections=300"]
    with log.open("wb") as output:
        process = subprocess.Popen([binaries / "postgres", "-D", data, *settings], stdout=output, stderr=output, cwd=folder, **identity)
    try:
        _wait(port, process, log)
        _wait_for_queries(binaries, port, identity)
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"
    finally:
        process.send_signal(signal.SIGINT)  # "fast": open connections are closed
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


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
        for name, start in (("TEST_DATABASE_URL", postgres), ("TEST_REDIS_URL", redis)):
            if not os.environ.get(name):
                os.environ[name] = stack.enter_context(start())
                stack.callback(os.environ.pop, name)
        yield


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with provided():
        return subprocess.run(sys.argv[1:], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
