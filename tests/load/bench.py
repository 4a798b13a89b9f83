"""`script/bench`: the gateway on SQLite, beside the bare relay and the mock upstream alone; plain answers and streams of 100 chunks.

CPU is that of the process trees (relay processes; the Celery worker apart), so that the ratio to the bare relay survives a slow or busy machine.
Targets: 1.0 (plain) and 0.75 (stream) times the bare relay. Arguments: --seconds, --connections.
"""

import argparse
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.server import Server, children, environment
from tests.services import free_port

HERE = Path(__file__).resolve().parent
Line = dict[str, str]


def build(folder: Path) -> tuple[Path, Path]:
    """The mock upstream and the load generator, compiled."""
    for name in ("mock", "load"):
        subprocess.run(["go", "build", "-o", str(folder / name), f"./{name}"], cwd=HERE, check=True)
    return folder / "mock", folder / "load"


@contextmanager
def running(command: list[str], port: int, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that listens on `port`, until the end of the block."""
    process = subprocess.Popen(command, env={**os.environ, **env})
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def gateway(folder: Path, upstream: str) -> Iterator[tuple[Server, str]]:
    """A fresh gateway on SQLite with one channel and one unlimited token; the server and the token's key."""
    port = free_port()
    server = Server(folder / "data", environment(folder / "data", port, LOG_LEVEL="warning"), port)
    server.start()
    try:
        channel = ["--provider", "openai", "--name", "mock", "--base-url", upstream, "--key", "sk-up", "--models", "gpt-4o-mini"]
        server.manage("channel", "add", *channel)
        key = server.manage("token", "add", "--user", "admin", "--name", "bench", "--unlimited").stdout.strip()
        time.sleep(1.5)  # the snapshot follows within a second
        yield server, key
        audit = server.manage("audit", check=False)
        print(audit.stdout.strip() or audit.stderr.strip())
    finally:
        server.stop()


def measure(load: Path, label: str, url: str, pids: list[int], options: argparse.Namespace, *, key: str = "sk-test", stream: bool = False) -> Line:
    """One run of the load generator; its line as a mapping."""
    command = [str(load), "-url", f"{url}/v1/chat/completions", "-key", key, "-label", label, "-c", str(options.connections)]
    command += ["-d", f"{options.seconds}s", "-pid", ",".join(map(str, pids)), *(["-stream"] if stream else [])]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(output.strip(), flush=True)
    return dict(re.findall(r"(\w+)=(\S+)", output))


def run(options: argparse.Namespace, folder: Path) -> None:
    """All measurements, then the ratios."""
    mock, load = build(folder)
    cpu: dict[tuple[str, bool], float] = {}
    with ExitStack() as stack:
        mock_port, bare_port = free_port(), free_port()
        upstream = f"http://127.0.0.1:{mock_port}"
        mocking = stack.enter_context(running([str(mock), "-addr", f"127.0.0.1:{mock_port}"], mock_port))
        bare = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE / "bare"), "app:app", "--port", str(bare_port)]
        relaying = stack.enter_context(running([*bare, "--no-access-log", "--log-level", "warning"], bare_port, UPSTREAM=upstream))
        server, key = stack.enter_context(gateway(folder, upstream))
        targets = [
            ("mock", upstream, [mocking.pid], "sk-test"),
            ("bare", f"http://127.0.0.1:{bare_port}", [relaying.pid], "sk-test"),
            ("gateway", server.url, children(server.pid, "oneapi_site.web"), key),
        ]
        for stream in (False, True):
            for name, url, pids, own_key in targets:
                line = measure(load, f"{name}-{'stream' if stream else 'plain'}", url, pids, options, key=own_key, stream=stream)
                cpu[name, stream] = float(line.get("cpu_us", 0))
                if line["bad"] != "0":
                    print(f"  {line['bad']} requests failed: the figures do not count", flush=True)
    for stream, target in ((False, 1.0), (True, 0.75)):
        ratio = cpu["gateway", stream] / cpu["bare", stream] if cpu["bare", stream] else 0.0
        kind = "stream" if stream else "plain"
        print(f"{kind}: the gateway takes {ratio:.2f} times the bare relay's CPU a request (target {target})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=32)
    with tempfile.TemporaryDirectory(prefix="oneapi-bench-") as folder:
        run(parser.parse_args(), Path(folder))


if __name__ == "__main__":
    main()
