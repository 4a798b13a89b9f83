"""A channel's key goes to the channel's host and nowhere else, and only to an address that the guard has seen."""

import socket
from collections.abc import Iterable

import pytest
from aiohttp import ThreadedResolver
from aiohttp.abc import ResolveResult

from outbound import http1
from outbound.guard import Guard
from outbound.transport import AddressRefused
from tests.outbound.upstream import answering, plain, post, serving, transport_for

KEY = (("Authorization", "Bearer sk-channel-secret"),)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_the_key_goes_nowhere_else(status: int) -> None:
    async with serving(answering(plain(b"stolen"))) as elsewhere:
        redirect = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}\r\nRefresh: 0; url={elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
        async with serving(answering(redirect)) as upstream, transport_for() as transport:
            answer = await transport.open(post(upstream.url, headers=KEY))

            assert answer.status == status
            assert await answer.read_all(100) == b""
            assert len(upstream.heads) == 1
        assert elsewhere.connections == 0


async def test_neither_environment_nor_netrc_choose_a_proxy_or_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(answering(plain(b"proxied"))) as proxy, serving(answering(plain(b"direct"))) as upstream:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")

        async with transport_for() as transport:
            assert await (await transport.open(post(upstream.url, headers=KEY))).read_all(100) == b"direct"
        assert proxy.connections == 0


async def test_a_channel_proxy_is_used() -> None:
    async with serving(answering(plain(b"proxied"))) as proxy, transport_for() as transport:
        answer = await transport.open(post("http://models.example/v1", headers=KEY, proxy=f"http://u:p@127.0.0.1:{proxy.port}"))

        assert await answer.read_all(100) == b"proxied"
        assert proxy.heads[0].startswith(b"POST http://models.example/v1 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic dTpw" in proxy.heads[0]


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:{port}", "http://localhost:{port}"])
async def test_a_proxy_is_guarded_like_a_host(proxy: str) -> None:
    async with serving(answering(plain(b"proxied"))) as inside, transport_for(Guard("public")) as transport:
        with pytest.raises(AddressRefused):
            await transport.open(post("http://models.example/v1", headers=KEY, proxy=proxy.format(port=inside.port)))
        assert inside.connections == 0


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "localhost.", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0.0.0.0"]
)
async def test_a_public_transport_reaches_nothing_on_this_machine(host: str) -> None:
    async with serving(answering(plain(b"inside"))) as inside, transport_for(Guard("public")) as transport:
        with pytest.raises(Exception, match=r".") as refusal:
            await transport.open(post(f"http://{host}:{inside.port}/", headers=KEY))

        assert type(refusal.value).__name__ in {"AddressRefused", "ConnectFailed"}
        assert inside.connections == 0


async def test_a_host_with_one_bad_address_among_good_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = ("93.184.215.14", "127.0.0.1")

    async def aiohttps(resolver: object, host: str, port: int, family: int) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host=one, port=port, family=socket.AF_INET, proto=6, flags=0) for one in addresses]

    async def ours(host: str, port: int) -> http1.Addresses:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    async with serving(answering(plain(b"inside"))) as inside, transport_for(Guard("public")) as transport:
        monkeypatch.setattr(ThreadedResolver, "resolve", aiohttps)
        monkeypatch.setattr(http1, "resolve", ours)
        with pytest.raises(AddressRefused):
            await transport.open(post(f"http://rebinding.example:{inside.port}/", headers=KEY))
        assert inside.connections == 0


class GuardThatSleepsOnNames(Guard):
    """Lets every look-up pass, as if it had been fooled: what is dialled must still be looked at."""

    def check_name(self, host: str) -> None: ...

    def check_all(self, host: str, addresses: Iterable[str]) -> None: ...


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_address_that_is_dialled_is_looked_at(host: str) -> None:
    async with serving(answering(plain(b"inside"))) as inside, transport_for(GuardThatSleepsOnNames("public")) as transport:
        with pytest.raises(AddressRefused):
            await transport.open(post(f"http://{host}:{inside.port}/", headers=KEY))
        assert inside.connections == 0


async def test_a_channel_may_be_next_door() -> None:
    async with serving(answering(plain(b"ok"))) as upstream, transport_for(Guard("channel")) as transport:
        for host in ("127.0.0.1", "localhost"):
            assert await (await transport.open(post(f"http://{host}:{upstream.port}/", headers=KEY))).read_all(10) == b"ok"


async def test_a_key_in_the_url_is_refused() -> None:
    async with transport_for() as transport:
        with pytest.raises(AddressRefused):
            await transport.open(post("http://user:password@127.0.0.1/"))
