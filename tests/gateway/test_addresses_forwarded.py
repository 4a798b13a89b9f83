"""Forwarded headers count if a trusted proxy sent them, and then only what that proxy saw itself."""

import ipaddress

import pytest

from gateway.addresses import client_address, forwarded_prefix, forwarded_scheme

TRUSTED = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))
STRANGER = "203.0.113.9"


def forwarded(value: str) -> dict[bytes, bytes]:
    return {b"x-forwarded-for": value.encode()}


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # the left was sent by the client
        ("127.0.0.1", "6.6.6.6, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("127.0.0.1", "10.0.0.3,10.0.0.2", "10.0.0.3"),  # all within
        ("fd00::1", " 2001:db8::5 ", "2001:db8::5"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, nonsense", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("127.0.0.1", "\x00'\"é", "127.0.0.1"),
        (STRANGER, "127.0.0.1", STRANGER),
        ("", "127.0.0.1", ""),
    ],
)
def test_the_client_is_the_first_hop_that_is_no_trusted_proxy(peer: str, header: str, client: str) -> None:
    assert client_address(peer, forwarded(header), TRUSTED) == client


def test_without_trusted_proxies_nothing_is_believed() -> None:
    headers = {b"x-forwarded-for": b"6.6.6.6", b"x-forwarded-proto": b"https", b"x-forwarded-prefix": b"/one-api"}

    assert client_address("127.0.0.1", headers, ()) == "127.0.0.1"
    assert forwarded_scheme("127.0.0.1", headers, ()) == ""
    assert forwarded_prefix("127.0.0.1", headers, ()) == ""


@pytest.mark.parametrize(("header", "scheme"), [(b"https", "https"), (b"HTTP", "http"), (b"http, https", "https"), (b"javascript", ""), (b"", "")])
def test_the_scheme_is_what_the_nearest_proxy_saw(header: bytes, scheme: str) -> None:
    assert forwarded_scheme("127.0.0.1", {b"x-forwarded-proto": header}, TRUSTED) == scheme
    assert forwarded_scheme(STRANGER, {b"x-forwarded-proto": header}, TRUSTED) == ""


@pytest.mark.parametrize(
    ("header", "prefix"),
    [
        (b"/one-api", "/one-api"),
        (b"/one-api/", "/one-api"),
        (b"/a/b.c/d~e", "/a/b.c/d~e"),
        (b"/", ""),
        (b"one-api", ""),
        (b"//evil.example", ""),
        (b"/a//b", ""),
        (b"/..", ""),
        (b"/a/../b", ""),
        (b"/.", ""),
        (b"/.hidden", "/.hidden"),
        (b"/a b", ""),
        (b"/a%2fb", ""),
        (b"/\xff", ""),
        (b"/a" * 9, ""),
        (b"https://evil.example/", ""),
    ],
)
def test_a_prefix_is_a_plain_path(header: bytes, prefix: str) -> None:
    assert forwarded_prefix("127.0.0.1", {b"x-forwarded-prefix": header}, TRUSTED) == prefix
    assert forwarded_prefix(STRANGER, {b"x-forwarded-prefix": header}, TRUSTED) == ""
