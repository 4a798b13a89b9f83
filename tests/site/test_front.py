"""Paths, prefixes, schemes and cookies before they reach either plane."""

import ipaddress

import pytest

from oneapi_site.front import Front

PROXY = (ipaddress.ip_network("10.0.0.0/8"),)


class Plane:
    """Remembers the scope that it was given, and sets a cookie."""

    def __init__(self, prefix: str = "") -> None:
        self.own = prefix
        self.scopes: list[dict[str, object]] = []

    def handles(self, path):
        return path.startswith("/v1/")

    async def start(self): ...

    async def stop(self, within): ...

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Set-Cookie", b"a=b; Path=/")]})
        await send({"type": "http.response.body", "body": b""})


async def ask(front, path, peer="10.0.0.1", kind="http", **headers):
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "scheme": "http", "headers": named, "client": (peer, 1), "root_path": ""}
    await front(scope, receive, send)
    return sent


def build(prefix="", relay=True, console=True):
    planes = Plane() if relay else None, Plane() if console else None
    return Front(*planes, None, trusted=PROXY, prefix=prefix, shutdown_timeout=1), *planes


@pytest.mark.parametrize("path", ["/one-api/v1/models", "/v1/models"])
@pytest.mark.parametrize("prefix", ["/one-api", ""])
async def test_the_relay_sees_the_path_without_the_prefix_however_it_is_told(path, prefix):
    front, relay, _ = build(prefix)

    await ask(front, path, **({} if prefix else {"x_forwarded_prefix": "/one-api"}))

    assert relay.scopes[0]["path"] == "/v1/models"


@pytest.mark.parametrize("path", ["/one-api/admin/", "/admin/"])
@pytest.mark.parametrize("prefix", ["/one-api", ""])
async def test_the_console_sees_the_path_with_the_prefix_and_knows_it_as_root(path, prefix):
    front, _, console = build(prefix)

    await ask(front, path, **({} if prefix else {"x_forwarded_prefix": "/one-api"}))

    assert (console.scopes[0]["path"], console.scopes[0]["root_path"]) == ("/one-api/admin/", "/one-api")


async def test_a_name_that_only_begins_like_the_prefix_is_no_prefix():
    front, _, console = build("/one")

    await ask(front, "/one-api/")

    assert console.scopes[0]["path"] == "/one/one-api/"


async def test_forwarded_headers_of_a_stranger_do_not_count():
    front, _, console = build()

    await ask(front, "/admin/", peer="192.0.2.7", x_forwarded_prefix="/evil", x_forwarded_proto="https", x_forwarded_for="127.0.0.1")

    seen = console.scopes[0]
    assert (seen["path"], seen["scheme"], seen["client"][0]) == ("/admin/", "http", "192.0.2.7")


async def test_https_at_a_trusted_proxy_makes_cookies_secure_and_names_the_client():
    front, _, console = build()

    sent = await ask(front, "/admin/", x_forwarded_proto="https", x_forwarded_for="198.51.100.9")

    assert (console.scopes[0]["scheme"], console.scopes[0]["client"][0]) == ("https", "198.51.100.9")
    assert dict(sent[0]["headers"])[b"Set-Cookie"] == b"a=b; Path=/; Secure"


async def test_cookies_over_plain_http_stay_usable():
    front, _, _ = build()

    sent = await ask(front, "/admin/")

    assert dict(sent[0]["headers"])[b"Set-Cookie"] == b"a=b; Path=/"


@pytest.mark.parametrize("path", ["/healthz", "/one-api/healthz"])
async def test_health_is_answered_with_and_without_the_prefix(path):
    front, _, _ = build("/one-api")

    sent = await ask(front, path)

    assert sent[0]["status"] == 200


async def test_a_relay_only_server_has_no_console():
    front, _, _ = build(console=False)

    assert (await ask(front, "/admin/"))[0]["status"] == 404


async def test_a_console_only_server_leaves_relay_paths_to_django():
    front, _, console = build(relay=False)

    await ask(front, "/v1/models")

    assert console.scopes[0]["path"] == "/v1/models"


async def test_a_websocket_behind_https_is_wss():
    console = Plane()
    front = Front(None, console, console, trusted=PROXY, prefix="", shutdown_timeout=1)

    await ask(front, "/live", kind="websocket", x_forwarded_proto="https")

    assert console.scopes[0]["scheme"] == "wss"


async def test_a_relay_that_cannot_start_fails_the_startup():
    class Broken(Plane):
        async def start(self):
            raise OSError("the database is away")

    front, sent = Front(Broken(), None, None, trusted=(), prefix="", shutdown_timeout=1), []

    async def receive():
        return {"type": "lifespan.startup"}

    async def send(message):
        sent.append(message)

    await front({"type": "lifespan"}, receive, send)

    assert sent == [{"type": "lifespan.startup.failed", "message": "the database is away"}]
