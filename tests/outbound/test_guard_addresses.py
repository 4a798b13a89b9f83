"""The table of addresses: what a channel may dial, and what everything else may."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbound.guard import Guard
from outbound.transport import AddressRefused

NEVER = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "0.0.0.0",
    "::",
    "255.255.255.255",
    "224.0.0.1",
    "239.255.255.250",
    "ff02::1",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b::100.100.100.200",
    "64:ff9b:1::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2002:6464:64c8::",
    "2001:0:4136:e378:8000:63bf:5601:5601",  # Teredo, the client's address inverted
]
NEXT_DOOR = [
    "127.0.0.1",
    "127.255.255.254",
    "::1",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "0.1.2.3",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "240.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::1",
    "100::1",
    "2001:1::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:0808:0808::1",
    "2002:7f00:1::",
    "2002:a00:1::",
    "3fff::1",
    "5f00::1",
    "4000::1",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "93.184.215.14",
    "100.63.255.255",
    "100.128.0.1",
    "172.15.255.255",
    "172.32.0.1",
    "169.253.255.255",
    "169.255.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "192.0.1.1",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2001:4860:4860::8888",
    "2400:3200::1",
    "2a00:1450::1",
]

channel = Guard("channel")
public = Guard("public")


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize(
    "guard", [channel, public, Guard("public", ["0.0.0.0/0", "::/0"])], ids=["channel", "public", "all private networks allowed"]
)
def test_link_local_and_metadata_addresses_are_never_dialled(guard: Guard, address: str) -> None:
    with pytest.raises(AddressRefused):
        guard.check(address)


@pytest.mark.parametrize("address", NEXT_DOOR)
def test_only_global_unicast_is_public(address: str) -> None:
    with pytest.raises(AddressRefused):
        public.check(address)


@pytest.mark.parametrize("address", [*NEXT_DOOR, *PUBLIC])
def test_a_channel_may_be_anywhere_else(address: str) -> None:
    channel.check(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_pass(address: str) -> None:
    public.check(address)
    public.check(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["10.1.2.3", "fd12::1", "127.0.0.1", "::ffff:10.1.2.3"])
def test_private_networks_can_be_allowed(address: str) -> None:
    Guard("public", ["10.1.0.0/16", "fd12::/16", "127.0.0.1/32"]).check(address)


def test_an_allowed_network_allows_nothing_beside_it() -> None:
    with pytest.raises(AddressRefused):
        Guard("public", ["10.1.0.0/16"]).check("10.2.0.1")


@pytest.mark.parametrize("text", ["", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "1.2.3.4.5", "[::1]", "127.0.0.1 "])
@pytest.mark.parametrize("guard", [channel, public])
def test_what_is_no_plain_address_is_refused(guard: Guard, text: str) -> None:
    with pytest.raises(AddressRefused):
        guard.check(text)


@pytest.mark.parametrize(("policy", "networks"), [("private", ()), ("public", ["10.0.0.0/33"]), ("public", ["10.0.0.1/8"])])
def test_a_wrong_setting_is_an_error(policy: str, networks: list[str]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is ipaddress's own for networks
        Guard(policy, networks)


@given(address=st.ip_addresses())
def test_what_is_public_for_us_is_global_for_the_standard_library(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    try:
        public.check(address)
    except AddressRefused:
        return
    assert address.is_global
    channel.check(address)
