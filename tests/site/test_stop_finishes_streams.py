"""A stop lets streams in flight end and charges them; beyond SHUTDOWN_TIMEOUT it cuts them, and still charges what was delivered."""

import json
import signal
import threading

import httpx
import pytest

from tests.e2e.arrange import MODEL, add_channel, add_token, await_key
from tests.server import members, start_server

pytestmark = pytest.mark.slow


def ready(tmp_path, database, upstream, **env):
    """A server with a channel to the simulator, and a key for it."""
    server = start_server(tmp_path, database, **env)
    add_channel(server, upstream.url)
    return server, await_key(server, add_token(server))


class Stream(threading.Thread):
    """A client that reads a stream to its end; `begun` once content has come."""

    def __init__(self, server, key):
        super().__init__(daemon=True)
        self.server, self.key = server, key
        self.begun = threading.Event()
        self.lines = []
        self.start()

    def run(self):
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "twelve bytes"}]}
        headers = {"Authorization": f"Bearer {self.key}"}
        try:
            with httpx.stream("POST", f"{self.server.url}/v1/chat/completions", json=body, headers=headers, timeout=60) as answer:
                for line in answer.iter_lines():
                    if line.startswith("data:"):
                        self.lines.append(line)
                        self.begun.set()
        except httpx.HTTPError:
            self.lines.append("cut")


def charges(server):
    """What the audit says after the stop; it must find nothing wrong."""
    report = json.loads(server.manage("audit", "--json").stdout)
    assert report["ok"]
    return report["charges"]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_in_flight_is_finished_and_charged(database, tmp_path, upstream, sig):
    server, key = ready(tmp_path, database, upstream)
    upstream.reset()
    upstream.fault(model=MODEL, chunk_delay=0.3)
    stream = Stream(server, key)
    assert stream.begun.wait(30)

    assert server.stop(sig) == 0
    stream.join(30)

    assert stream.lines[-1] == "data: [DONE]"
    assert charges(server) == 1


def test_a_stream_that_does_not_end_is_cut_after_the_timeout_and_charged(database, tmp_path, upstream):
    server, key = ready(tmp_path, database, upstream, SHUTDOWN_TIMEOUT="2")
    upstream.reset()
    upstream.fault(model=MODEL, stall_after=2)
    stream = Stream(server, key)
    assert stream.begun.wait(30)
    group = server.pid

    server.stop()
    stream.join(30)
    upstream.reset()

    assert "data: [DONE]" not in stream.lines
    assert members(group) == []
    assert charges(server) == 1
