"""Which addresses this server may dial: the one answer to server-side request forgery, for every HTTP client we have.

A URL is judged by the addresses that its host resolves to, all of them, and what was judged is what is dialled; so redirects (never
followed), DNS rebinding, decimal or octal spellings and IPv6 forms that wrap an IPv4 address cannot lead anywhere else. Two policies:

    channel   an operator's base URL: may be private or loopback (a model server next door), never link-local or a metadata service
    public    everything else that the server fetches: global unicast only, plus ALLOWED_PRIVATE_NETWORKS

The tables are our own, because the standard library's differ between versions of Python. Sources:
https://www.iana.org/assignments/iana-ipv4-special-registry, https://www.iana.org/assignments/iana-ipv6-special-registry, and for the
metadata services https://cheatsheetseries.owasp.org/cheatsheets/Server_Side_Request_Forgery_Prevention_Cheat_Sheet.html
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

from outbound.transport import AddressRefused, ConnectFailed

Policy = Literal["channel", "public"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# No policy and no setting opens these: a metadata service hands out the machine's own credentials.
_NEVER = _networks(
    "169.254.0.0/16",  # link-local: metadata of AWS, Google, Azure, Oracle, Tencent, DigitalOcean
    "fe80::/10",
    "100.100.100.200/32",  # Alibaba
    "168.63.129.16/32",  # Azure's host agent
    "192.0.0.192/32",  # Oracle, the old address
    "fd00:ec2::/32",  # AWS: fd00:ec2::254 and the credential endpoints beside it
    "fd20:ce::254/128",  # Google
    "224.0.0.0/4",
    "ff00::/8",
    "255.255.255.255/32",
    "0.0.0.0/32",  # Linux takes it for loopback, other systems differ: nobody means it
    "::/128",
)

_NOT_PUBLIC = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
    "2001::/23",  # Teredo, ORCHID, benchmarking and the rest of the protocol block
    "2001:db8::/32",
    "2002::/16",  # 6to4
    "3fff::/20",
)
_GLOBAL_IPV6 = ipaddress.IPv6Network("2000::/3")  # all else (::ffff:0:0/96, 64:ff9b::/96, fc00::/7, fec0::/10, ...) is not global unicast

# IPv6 blocks that end in an IPv4 address: mapped, compatible, translated, NAT64, local NAT64.
_IPV4_AT_THE_END = _networks("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48")
_UNSPECIFIED = ipaddress.IPv6Address("::")
_LOOPBACK = ipaddress.IPv6Address("::1")

_METADATA_NAMES = frozenset(
    (
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "metadata.azure.com",
        "metadata.tencentyun.com",
        "metadata.platformequinix.com",
        "instance-data",
        "instance-data.ec2.internal",
    )
)


class Guard:
    """Decides on names and addresses; holds no state besides its policy."""

    def __init__(self, policy: Policy, private_networks: Sequence[str] = ()) -> None:
        """`private_networks`: CIDRs that the policy `public` lets pass besides global unicast. Raises ValueError for a bad CIDR."""
        if policy not in ("channel", "public"):
            raise ValueError(f"A guard's policy is 'channel' or 'public', not {policy!r}.")
        self.policy: Policy = policy
        self._allowed = _networks(*private_networks)
        self._host_of = lru_cache(maxsize=4096)(self._judge_url)  # channels' addresses come again with every request

    def check(self, ip: str | Address) -> None:
        """Return if this address may be dialled, else raise AddressRefused. A name instead of an address is refused."""
        try:
            address = ipaddress.ip_address(ip)
        except ValueError:
            raise AddressRefused(f"{ip!r} is not an IP address.") from None
        inner = _embedded(address)
        if any(_within(form, _NEVER) for form in (address, *inner)):
            raise AddressRefused(f"{address} is link-local, a metadata service, or no unicast address.")
        if self.policy == "channel":
            return
        plain = address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address
        if _within(plain, self._allowed):
            return
        if _within(address, _NOT_PUBLIC) or (isinstance(address, ipaddress.IPv6Address) and address not in _GLOBAL_IPV6):
            raise AddressRefused(f"{address} is not a public address. ALLOWED_PRIVATE_NETWORKS can make an exception.")

    def check_name(self, host: str) -> None:
        """Return unless this host is a metadata service by its name; a host written as an address is checked as one.

        Raises AddressRefused.
        """
        name = host.rstrip(".").lower()
        if name in _METADATA_NAMES:
            raise AddressRefused(f"{host!r} is the name of a metadata service.")
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return
        self.check(address)

    def check_url(self, url: str) -> str:
        """The host of an http or https URL, after `check_name`.

        Raises AddressRefused for another scheme, a missing host, or a user name in it.
        """
        return self._host_of(url)

    def _judge_url(self, url: str) -> str:
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            raise AddressRefused("This is not a URL.") from None
        if parts.scheme not in ("http", "https") or not host:
            raise AddressRefused("Only http:// and https:// URLs with a host can be fetched.")
        if parts.username is not None or parts.password is not None:
            raise AddressRefused("A URL must not carry a user name or password.")
        self.check_name(host)
        return host

    def check_all(self, host: str, addresses: Iterable[str]) -> None:
        """Check every address that a host resolved to: one bad address refuses the host. Raises AddressRefused."""
        self.check_name(host)
        for address in addresses:
            self.check(address)

    def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a host, all checked, in the order to dial them.

        Blocks. Raises AddressRefused, ConnectFailed where it has none.
        """
        self.check_name(host)
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise ConnectFailed(f"{host!r} cannot be resolved: {error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        self.check_all(host, addresses)
        return addresses


def _within(address: Address, networks: Iterable[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _embedded(address: Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may lead to."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[ipaddress.IPv4Address] = []
    if _within(address, _IPV4_AT_THE_END) and address not in (_UNSPECIFIED, _LOOPBACK):
        found.append(ipaddress.IPv4Address(address.packed[-4:]))
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    return found
