"""The control plane's client dials what the guard has checked, follows nothing and keeps nothing."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from outbound.client_httpx import control_client
from outbound.guard import Guard
from outbound.transport import AddressRefused, ConnectFailed


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]  # the test's own server
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/slow":
            self.server.released.wait(10)  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = []  # type: ignore[attr-defined]
    server.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.released.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_fetches_under_the_name_of_the_host(upstream: ThreadingHTTPServer) -> None:
    with control_client(Guard("channel")) as client:
        answer = client.get(f"http://localhost:{upstream.server_port}/models", headers={"Authorization": "Bearer k"})

    assert (answer.status_code, answer.text) == (200, "ok")
    path, headers = upstream.seen[0]  # type: ignore[attr-defined]
    assert path == "/models"
    assert headers["Host"] == f"localhost:{upstream.server_port}"
    assert headers["Authorization"] == "Bearer k"


def test_it_follows_no_redirect(upstream: ThreadingHTTPServer) -> None:
    with control_client(Guard("channel")) as client:
        assert client.get(f"http://127.0.0.1:{upstream.server_port}/moved").status_code == 302

    assert [path for path, _ in upstream.seen] == ["/moved"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "017700000001", "[::ffff:127.0.0.1]"])
def test_a_public_client_reaches_nothing_on_this_machine(upstream: ThreadingHTTPServer, host: str) -> None:
    with control_client(Guard("public")) as client, pytest.raises(AddressRefused):
        client.get(f"http://{host}:{upstream.server_port}/")

    assert upstream.seen == []  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "http://metadata.google.internal/", "http://2852039166/", "http://u:p@example.com/"])
def test_a_metadata_service_is_refused_for_channels_too(url: str) -> None:
    with control_client(Guard("channel")) as client, pytest.raises(AddressRefused):
        client.get(url)


def test_the_environment_chooses_no_proxy(upstream: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")

    with control_client(Guard("channel")) as client:
        assert client.get(f"http://127.0.0.1:{upstream.server_port}/").text == "ok"


def test_silence_has_an_end(upstream: ThreadingHTTPServer) -> None:
    with control_client(Guard("channel"), timeout=0.2) as client, pytest.raises(httpx.TimeoutException):
        client.get(f"http://127.0.0.1:{upstream.server_port}/slow")


def test_who_cannot_be_reached_is_an_error() -> None:
    with control_client(Guard("channel")) as client:
        with pytest.raises(ConnectFailed):
            client.get("http://no-such-host.invalid/")
        with pytest.raises(httpx.ConnectError):
            client.get("http://127.0.0.1:1/")
