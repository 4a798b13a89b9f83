"""The server's processes: start, second server, stop, Ctrl-C, deaths of children and of the supervisor."""

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from tests.server import ROOT, children, create_server, members, start_server

pytestmark = pytest.mark.slow


def until(true, seconds=30.0):
    """Waits for a condition; whether it came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def running(tmp_path):
    """A server on SQLite of the test's own."""
    server = start_server(tmp_path, "sqlite")
    yield server
    server.kill()


def test_health_is_answered_and_relay_and_worker_run(server):
    assert server.is_healthy()
    assert len(children(server.pid, "oneapi_site.web")) == 1
    assert until(lambda: len(children(server.pid, "oneapi_site.worker")) == 1)


def test_a_second_server_on_the_folder_is_refused_with_a_sentence(running):
    second = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "serve"], env={**running.env, "PORT": "1"}, capture_output=True, text=True, check=False
    )

    assert second.returncode == 1
    assert f"Another server (process {running.pid}) runs on {running.data_dir}" in second.stderr
    assert running.is_healthy()


def test_a_port_in_use_is_refused_with_a_sentence(running, tmp_path):
    other = create_server(tmp_path, "sqlite")

    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "serve"],
        env={**other.env, "PORT": str(running.port)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert f"HOST:PORT 127.0.0.1:{running.port} cannot be used" in done.stderr


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_nothing_behind_and_exits_with_0(tmp_path, sig):
    server = start_server(tmp_path, "sqlite")
    group = server.pid

    assert server.stop(sig) == 0

    assert members(group) == []
    assert "Traceback" not in server.output()


def test_ctrl_c_reaches_all_processes_and_still_stops_in_good_order(running):
    os.killpg(running.pid, signal.SIGINT)

    assert running.wait() == 0
    assert "Traceback" not in running.output()


def test_it_starts_again_after_kill_9(running):
    running.kill()
    running.start()

    assert running.is_healthy()


def test_a_dead_relay_process_is_started_again(running):
    (before,) = children(running.pid, "oneapi_site.web")

    os.kill(before, signal.SIGKILL)

    assert until(lambda: children(running.pid, "oneapi_site.web") not in ([], [before]))
    assert until(running.is_healthy)
    assert "The web process ended with signal 9." in running.output()


def test_a_relay_process_that_keeps_dying_takes_the_server_down(running):
    for _ in range(3):
        assert until(lambda: bool(children(running.pid, "oneapi_site.web")))
        for pid in children(running.pid, "oneapi_site.web"):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.2)
        until(lambda: bool(children(running.pid, "oneapi_site.web")) or running.process.poll() is not None, 15)

    assert running.wait() == 1
    assert "does not stay up" in running.output()


def test_children_leave_when_the_supervisor_is_killed_and_the_folder_is_free_again(running):
    group = running.pid

    os.kill(running.pid, signal.SIGKILL)
    running.process.wait(30)

    assert until(lambda: members(group) == [])
    running.start()
    assert running.is_healthy()


def test_the_broker_and_all_state_lie_below_the_data_folder(running):
    names = {path.name for path in running.data_dir.iterdir()}

    assert {"broker", "oneapi.sqlite3", "secret_key", "field_encryption_keys", "server.lock", "static"} <= names


def test_a_request_that_arrives_while_it_starts_is_refused_and_not_left_hanging(tmp_path):
    server = create_server(tmp_path, "sqlite")
    outcomes = []

    def knock():
        while server.process and server.process.poll() is None and "answered" not in outcomes:
            try:
                with urllib.request.urlopen(server.url + "/healthz", timeout=10) as answer:
                    outcomes.append("answered" if answer.status == 200 else "odd")
            except TimeoutError:
                outcomes.append("hanging")
            except OSError:
                outcomes.append("refused")
                time.sleep(0.05)

    server.launch()
    knocking = threading.Thread(target=knock)
    knocking.start()
    knocking.join(60)
    server.kill()

    assert outcomes[-1] == "answered"
    assert "hanging" not in outcomes
