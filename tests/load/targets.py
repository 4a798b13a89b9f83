"""What is measured: the mock upstream alone, nginx before it, the bare relay, the gateway on SQLite and on PostgreSQL, and whatever else is named.

Each target names the processes whose CPU and memory count: relay processes, and of the gateway on PostgreSQL the database's as well.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.server import Server, children, environment
from tests.services import Postgres, free_port, postgres

HERE = Path(__file__).resolve().parent
MODEL = "gpt-4o-mini"
READY = 60.0  # seconds


@dataclass
class Target:
    """A relay, or the upstream itself. `server` is the gateway's, for its audit."""

    name: str
    url: str
    pids: list[int]
    key: str = "sk-test"
    server: Server | None = None


@dataclass
class Mock:
    """The upstream; `stats` counts what it served."""

    url: str
    pid: int
    served_before: int = field(default=0)

    def served(self) -> int:
        """Answers since the last call, plain and streamed."""
        with urllib.request.urlopen(f"{self.url}/stats", timeout=10) as answer:
            stats = json.loads(answer.read())
        total = int(stats["plain"]) + int(stats["streamed"])
        since, self.served_before = total - self.served_before, total
        return since


@contextmanager
def running(command: list[str], port: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on `port`, until the end of the block."""
    process = subprocess.Popen(command, env={**os.environ, **env})
    try:
        deadline = time.monotonic() + READY
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def mock(binary: Path, *flags: str) -> Iterator[Mock]:
    """The mock upstream."""
    port = free_port()
    with running([str(binary), "-addr", f"127.0.0.1:{port}", *flags], port) as process:
        yield Mock(f"http://127.0.0.1:{port}", process.pid)


@contextmanager
def bare(upstream: str) -> Iterator[Target]:
    """uvicorn and aiohttp, and no logic: the unit of all ratios."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE / "bare"), "app:app", "--port", str(port)]
    with running([*command, "--no-access-log", "--log-level", "warning"], port, UPSTREAM=upstream) as process:
        yield Target("bare relay", f"http://127.0.0.1:{port}", [process.pid])


@contextmanager
def nginx(upstream: str, folder: Path) -> Iterator[Target]:
    """nginx as a plain proxy with kept connections."""
    port, binary = free_port(), shutil.which("nginx")
    assert binary is not None
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; upstream mock {{ server {upstream.removeprefix('http://')}; keepalive 512; }}\n"
        f"server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ proxy_pass http://mock; proxy_http_version 1.1;\n"
        'proxy_set_header Connection ""; proxy_buffering off; client_max_body_size 100m; } } }\n',
        encoding="utf-8",
    )
    with running([binary, "-c", str(config), "-p", str(folder)], port) as process:
        yield Target("nginx", f"http://127.0.0.1:{port}", [process.pid])


@contextmanager
def gateway(folder: Path, upstream: str, database: Postgres | None = None, processes: int = 1) -> Iterator[Target]:
    """A fresh gateway with one channel, and one token of a user whose wallet and token limit are asked."""
    port = free_port()
    extra = {"LOG_LEVEL": "warning", "WEB_CONCURRENCY": str(processes)}
    name = "gateway, SQLite"
    if database is not None:
        name = f"gateway, PostgreSQL, {processes} process{'es' if processes > 1 else ''}"
        extra["DATABASE_URL"] = new_database(database, f"bench{port}")
    server = Server(folder / f"data{port}", environment(folder / f"data{port}", port, **extra), port)
    server.start()
    try:
        channel = ["--provider", "openai", "--name", "mock", "--base-url", upstream, "--key", "sk-up", "--models", MODEL]
        server.manage("channel", "add", *channel)
        server.manage("user", "add", "--user", "bench")
        server.manage("user", "credit", "--user", "bench", "--usd", "100000")
        key = server.manage("token", "add", "--user", "bench", "--name", "bench", "--usd", "50000").stdout.strip()
        while len(pids := children(server.pid, "oneapi_site.web")) < processes:
            time.sleep(0.1)
        time.sleep(2)  # the snapshot of every process follows within a second
        yield Target(name, server.url, [*pids, *([database.pid] if database else [])], key, server)
    finally:
        server.stop()


def new_database(database: Postgres, name: str) -> str:
    """An empty database; its URL."""
    import psycopg  # noqa: PLC0415  not needed for the figures on SQLite

    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return f"{database.url.rpartition('/')[0]}/{name}"


@contextmanager
def each(upstream: Mock, folder: Path, databases: list[str], processes: list[int], others: list[Target]) -> Iterator[Iterator[Target]]:
    """All targets one after the other, each running alone, so that none takes another's CPU."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres()) if "postgres" in databases else None

        def targets() -> Iterator[Target]:
            yield Target("mock alone", upstream.url, [upstream.pid])
            if shutil.which("nginx"):
                with nginx(upstream.url, folder) as one:
                    yield one
            with bare(upstream.url) as one:
                yield one
            if "sqlite" in databases:
                with gateway(folder, upstream.url) as one:
                    yield one
            for count in processes if server is not None else ():
                with gateway(folder, upstream.url, server, count) as one:
                    yield one
            yield from others

        yield targets()
