"""The real server for tests: its own folder, port and database, started as an operator starts it, and killed as hard as a test wants.

The set-up (tables, keys, prices, static files) is done once a run and copied; `fresh=True` starts from an empty folder instead.
"""

import fcntl
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
from psycopg import sql

from tests.services import free_port

ROOT = Path(__file__).resolve().parent.parent
START_PATIENCE = 90.0
STOP_PATIENCE = 90.0
ADMIN_PASSWORD = "correct horse battery"
OF_THE_FIRST_START = {"SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "ADMIN_USERNAME", "ADMIN_PASSWORD"}
Database = Literal["sqlite", "postgres"]
_numbers = itertools.count(1)


class Server:
    """`script/server` without its bootstrap. `pid` is the supervisor's, and leads a process group of its own."""

    def __init__(self, data_dir: Path, env: dict[str, str], port: int) -> None:
        self.data_dir = data_dir
        self.env = env
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.log = data_dir.with_name(data_dir.name + ".log")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def database_url(self) -> str:
        """As given to the server."""
        return self.env.get("DATABASE_URL") or f"sqlite:///{self.data_dir / 'oneapi.sqlite3'}"

    @property
    def pid(self) -> int:
        """Of the supervisor, which is also the process group's."""
        assert self.process is not None, "the server is not running"
        return self.process.pid

    def output(self) -> str:
        """All that the server printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""

    def launch(self) -> None:
        """Starts it without waiting for it."""
        with self.log.open("ab") as output:
            command = [sys.executable, str(ROOT / "manage.py"), "serve"]
            self.process = subprocess.Popen(command, env=self.env, stdout=output, stderr=output, start_new_session=True)

    def start(self) -> None:
        """Starts it, again on the same data, and waits until it serves."""
        self.launch()
        assert self.process is not None
        deadline = time.monotonic() + START_PATIENCE
        while not self.is_healthy():
            code = self.process.poll()
            if code is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the server did not start (exit code {code}):\n{self.output()[-4000:]}")
            time.sleep(0.05)

    def is_healthy(self) -> bool:
        """Whether /healthz answers 200."""
        try:
            with urllib.request.urlopen(f"{self.url}{self.env.get('FORCE_SCRIPT_NAME', '')}/healthz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def stop(self, sig: int = signal.SIGTERM) -> int:
        """Asks it to stop and waits; its exit code."""
        assert self.process is not None, "the server is not running"
        self.process.send_signal(sig)
        return self.wait()

    def wait(self) -> int:
        """Waits for its end; its exit code."""
        assert self.process is not None
        try:
            code = self.process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not stop:\n{self.output()[-4000:]}") from None
        return code

    def kill(self) -> None:
        """kill -9 for every process of it; returns when they are gone. Harmless when it has ended."""
        if self.process is None:
            return
        deadline = time.monotonic() + STOP_PATIENCE
        while members(self.process.pid):
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                break
            self.process.poll()
            assert time.monotonic() < deadline, "processes survive kill -9"
            time.sleep(0.01)
        self.process.wait(STOP_PATIENCE)

    def manage(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`script/manage ARGS` in the server's environment."""
        done = subprocess.run([sys.executable, str(ROOT / "manage.py"), *args], env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0 or not check, f"manage {' '.join(args)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done


def members(group: int) -> list[int]:
    """The living processes of a process group; zombies are dead."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(file.parent.name))
    return found


def children(pid: int, module: str) -> list[int]:
    """The living children of `pid` that run the Python module `module` (oneapi_site.web, oneapi_site.worker)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == pid and module.encode() in command:
            found.append(int(folder.name))
    return found


def environment(data_dir: Path, port: int, **extra: str) -> dict[str, str]:
    """A server's environment: nothing of the tests' own settings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
    ours = {
        "DATA_DIR": str(data_dir),
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "ADMIN_PASSWORD": ADMIN_PASSWORD,
        "PYTHONUNBUFFERED": "1",
        "SHUTDOWN_TIMEOUT": "20",
    }
    return {**kept, **ours, **extra}


def create_database(template: str | None = None) -> str:
    """A new database in the tests' PostgreSQL server; its URL."""
    admin = os.environ["TEST_DATABASE_URL"]
    name = f"oneapi_{os.getpid()}_{next(_numbers)}_{time.time_ns() % 10**9}"
    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(statement)
    return admin.rpartition("/")[0] + "/" + name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One worker of the run at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _template(database: Database) -> tuple[Path, str | None]:
    """A folder, and on PostgreSQL a database, in which the set-up was done; made by whoever needs it first."""
    place = Path(os.environ["DATA_DIR"]) / "prepared" / database
    with _locked(place):
        ready = place / "ready"
        if not ready.exists():
            url = create_database() if database == "postgres" else ""
            env = environment(place / "data", 1, **({"DATABASE_URL": url} if url else {}))
            command = [sys.executable, str(ROOT / "manage.py"), "serve", "--setup-only"]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"the set-up failed:\n{done.stdout}{done.stderr}"
            ready.write_text(url.rpartition("/")[2], encoding="utf-8")
        return place / "data", ready.read_text(encoding="utf-8") or None


def _borrow_static_files(data_dir: Path) -> None:
    """Collected once a run: by far the slowest step of a first start."""
    data_dir.mkdir(mode=0o700, exist_ok=True)
    (data_dir / "static").symlink_to(_template("sqlite")[0] / "static")


def create_server(tmp_path: Path, database: Database, *, fresh: bool = False, **env: str) -> Server:
    """A server that is not started yet. Each call is a server of its own; `env` are settings by name."""
    data_dir, port = tmp_path / f"data{next(_numbers)}", free_port()
    template = None
    if not fresh and not OF_THE_FIRST_START & env.keys():
        prepared, template = _template(database)
        shutil.copytree(prepared, data_dir, ignore=shutil.ignore_patterns("static", "server.lock"))
    _borrow_static_files(data_dir)
    if database == "postgres" and "DATABASE_URL" not in env:
        with _locked(Path(os.environ["DATA_DIR"]) / "prepared" / "copying"):  # a template must have no other user
            env["DATABASE_URL"] = create_database(template)
    return Server(data_dir, environment(data_dir, port, **env), port)


def start_server(tmp_path: Path, database: Database, *, fresh: bool = False, **env: str) -> Server:
    """A server that serves."""
    server = create_server(tmp_path, database, fresh=fresh, **env)
    server.start()
    return server
