"""SIGHUP replaces every process while requests and slow streams run: none fails, none is cut, each is charged."""

import json
import os
import signal
import threading
import time

import httpx
import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, await_key, until
from tests.server import children, start_server
from tests.site.test_stop_finishes_streams import Stream

pytestmark = pytest.mark.slow
MODULES = ("oneapi_site.web", "oneapi_site.worker")


class Caller(threading.Thread):
    """Asks one request after the other on one connection, as long as it may."""

    def __init__(self, server, key):
        super().__init__(daemon=True)
        self.server, self.key = server, key
        self.served = 0
        self.failed = []
        self.enough = threading.Event()
        self.start()

    def run(self):
        with httpx.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60) as http:
            while not self.enough.is_set():
                try:
                    answer = http.post("/v1/chat/completions", json=EXACT)
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                else:
                    self.served += answer.status_code == 200
                    if answer.status_code != 200:
                        self.failed.append(answer.text)
                time.sleep(0.01)


def processes(server):
    return {module: set(children(server.pid, module)) for module in MODULES}


def test_no_request_fails_and_no_stream_is_cut(database, tmp_path, upstream):
    count = 2 if database == "postgres" else 1
    server = start_server(tmp_path, database, WEB_CONCURRENCY=str(count))
    add_channel(server, upstream.url)
    add_channel(server, upstream.url, name="slow", models="slow", mapping=json.dumps({"slow": MODEL}))
    key = await_key(server, add_token(server))
    until(lambda: [len(found) for found in processes(server).values()] == [count, 1], 60)
    before = processes(server)
    upstream.reset()
    upstream.fault(model=MODEL, chunk_delay=0.3)
    streams = [Stream(server, key) for _ in range(4)]
    assert all(stream.begun.wait(30) for stream in streams)
    upstream.reset()
    callers = [Caller(server, key) for _ in range(6)]
    until(lambda: all(caller.served > 2 for caller in callers), 30)

    os.kill(server.pid, signal.SIGHUP)

    until(lambda: not any(processes(server)[module] & before[module] for module in MODULES), 60)
    until(lambda: [len(found) for found in processes(server).values()] == [count, 1], 60)
    seen = [caller.served for caller in callers]
    until(lambda: all(caller.served > some for caller, some in zip(callers, seen, strict=True)), 60)
    for caller in callers:
        caller.enough.set()
        caller.join(60)
    for stream in streams:
        stream.join(60)
    assert [failure for caller in callers for failure in caller.failed] == []
    assert [stream.lines[-1] for stream in streams] == ["data: [DONE]"] * 4
    assert server.stop() == 0
    report = json.loads(server.manage("audit", "--json").stdout)
    assert report["ok"], report["differences"]
    assert report["charges"] == sum(caller.served for caller in callers) + 4
    assert "does not stay up" not in server.output()


def test_old_processes_go_on_where_the_new_one_does_not_start(tmp_path, services):
    setting = tmp_path / "hops"
    setting.write_text("3", encoding="utf-8")
    server = start_server(tmp_path, "postgres", MAX_HOPS_FILE=str(setting))
    before = processes(server)["oneapi_site.web"]
    setting.write_text("many", encoding="utf-8")

    os.kill(server.pid, signal.SIGHUP)

    until(lambda: "The new web process does not start; the old ones go on." in server.output(), 60)
    assert processes(server)["oneapi_site.web"] == before
    assert server.is_healthy()
    assert server.stop() == 0
