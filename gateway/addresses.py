"""What a proxy in front says of a request: client address, scheme, prefix. Believed only if the peer is one of TRUSTED_PROXIES.

X-Forwarded-For is read from the right: the first address that is no trusted proxy is the client's, whatever stands left of it was sent by the client.
"""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_PREFIX = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,64}){1,8}")


def plain_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address; one of IPv4 that a socket for both versions shows as ::ffff:1.2.3.4 in its own form. ValueError."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=4096)
def _is_trusted(address: str, trusted: tuple[Network, ...]) -> bool:
    try:
        parsed = plain_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in trusted)


def is_trusted(peer: str, trusted: Sequence[Network]) -> bool:
    """Whether the peer's forwarded headers count."""
    return bool(trusted) and _is_trusted(peer, tuple(trusted))


def client_address(peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> str:
    """The client's address, as far as trusted proxies can tell; the peer's own otherwise."""
    if not is_trusted(peer, trusted):
        return peer
    address = peer
    for hop in reversed(headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")):
        text = hop.strip()
        try:
            ipaddress.ip_address(text)
        except ValueError:
            break
        address = text
        if not is_trusted(text, trusted):
            break
    return address


def forwarded_scheme(peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> str:
    """`https` or `http` as a trusted proxy saw it, "" where none says."""
    if not is_trusted(peer, trusted):
        return ""
    scheme = headers.get(b"x-forwarded-proto", b"").decode("latin-1").rpartition(",")[2].strip().lower()
    return scheme if scheme in {"http", "https"} else ""


def forwarded_prefix(peer: str, headers: Mapping[bytes, bytes], trusted: Sequence[Network]) -> str:
    """The path below which a trusted proxy serves us, such as `/one-api`; "" where none says."""
    if not is_trusted(peer, trusted):
        return ""
    prefix = headers.get(b"x-forwarded-prefix", b"").decode("latin-1").strip().rstrip("/")
    return prefix if _PREFIX.fullmatch(prefix) else ""
