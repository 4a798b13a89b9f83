"""The control plane's HTTP client: synchronous, guarded, and the only importer of httpx.

The guard resolves and checks a host, and the request is then sent to the checked address under the host's own name (Host header, SNI and
certificate check), so that a second look-up cannot answer differently: https://www.python-httpx.org/advanced/extensions/#sni_hostname
"""

from typing import Any

import httpx

from outbound.guard import Guard
from outbound.transport import Broken, ConnectFailed


class _GuardedTransport(httpx.BaseTransport):
    """Dials the addresses that the guard has checked, one after the other until one accepts."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        # No connection is kept: pooled by address, one could be used under the name of another host at the same address.
        self._inner = httpx.HTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        host = self._guard.check_url(str(url))
        port = url.port or (443 if url.scheme == "https" else 80)
        failure: httpx.TransportError | None = None
        for address in self._guard.resolve(host, port):
            pinned = httpx.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._inner.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure or ConnectFailed(f"{host!r} has no address.")

    def close(self) -> None:
        self._inner.close()


def control_client(guard: Guard, timeout: float = 15) -> httpx.Client:
    """A client for management work; `timeout` in seconds for connecting, each read and each write. Close it, or use it as a context
    manager.

    No redirect is followed and no proxy or netrc taken from the environment. Calls raise httpx.HTTPError, httpx.InvalidURL, and AddressRefused or
    ConnectFailed (outbound.transport) where the host may not be dialled or cannot be resolved.
    """
    return httpx.Client(transport=_GuardedTransport(guard), timeout=timeout, follow_redirects=False, trust_env=False)


def post_json(guard: Guard, url: str, value: Any, timeout: float = 15) -> None:
    """Posts a JSON value; any answer from 200 to 299 is a success.

    TransportError: the host may not be dialled (AddressRefused) or cannot be reached, or it broke off or answered otherwise (Broken).
    """
    try:
        with control_client(guard, timeout) as client:
            client.post(url, json=value).raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Broken(f"The POST failed: {type(error).__name__}.") from error
