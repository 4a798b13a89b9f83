"""Who asks: `sk-` keys from the headers, found by their SHA-256, and what their owner may do. Pure, and no query (security: hostile bearers).

A key is `sk-` and 48 letters and digits; an administrator may append `-<channel id>` to force a channel, as one-api has it.
"""

import hashlib
import re
from collections.abc import Mapping

import msgspec

from gateway.addresses import plain_address
from gateway.snapshot import GroupRow, Snapshot, TokenRow, UserRow
from wire.errors import AddressForbidden, ChannelPinForbidden, ModelForbidden, Unauthorized, UserBanned

_KEY = re.compile(rb"(?:sk-)?([A-Za-z0-9]{48})(?:-([0-9]{1,18}))?")
_BEARER = b"bearer "
_SPACE = b" \t"  # what HTTP allows around a value: https://www.rfc-editor.org/rfc/rfc9110#section-5.6.3
_PLACEHOLDERS = frozenset({b"", b"undefined", b"null", b"bearer"})  # SillyTavern and others send them where no key was entered
_HEADERS = (b"x-api-key", b"x-goog-api-key", b"api-key")


class Caller(msgspec.Struct, frozen=True):
    """The token, its user, and the group whose channels and ratio count: the token's, else the user's."""

    token: TokenRow
    user: UserRow
    group: GroupRow
    client_ip: str
    pinned_channel: int | None = None


def find_key(headers: Mapping[bytes, bytes]) -> bytes | None:
    """The key as sent, from `Authorization: Bearer`, `x-api-key`, `x-goog-api-key` or `api-key`; None where there is none.

    A proxy's `Basic …` and the placeholders of clients without a key are none; the next header may have one.
    """
    given = headers.get(b"authorization", b"").strip(_SPACE)
    if given[:7].lower() == _BEARER:
        given = given[7:].strip(_SPACE)
    if b" " not in given and given.lower() not in _PLACEHOLDERS:
        return given
    for name in _HEADERS:
        if found := headers.get(name, b"").strip(_SPACE):
            return found
    return None


def authenticate(key: bytes | None, client_ip: str, snapshot: Snapshot, now: float) -> Caller:
    """Who asks. Raises Unauthorized in one form for whatever is not a valid key, UserBanned, AddressForbidden, ChannelPinForbidden."""
    match = _KEY.fullmatch(key) if key is not None and len(key) < 80 else None
    if match is None:
        raise Unauthorized
    token = snapshot.tokens.get(hashlib.sha256(b"sk-" + match[1]).hexdigest())
    if token is None:
        raise Unauthorized
    if not token.enabled:
        raise Unauthorized("This API key is disabled. Use another one.")
    if token.expires_at is not None and token.expires_at <= now:
        raise Unauthorized("This API key has expired. Use another one.")
    user = snapshot.users.get(token.user_id)
    group = snapshot.groups.get(token.group_id or (user.group_id if user else 0))
    if user is None or group is None:
        raise Unauthorized
    if not user.active:
        raise UserBanned
    if token.subnets and not _within(client_ip, token):
        raise AddressForbidden
    pinned = None
    if match[2] is not None:
        if not user.staff:
            raise ChannelPinForbidden
        pinned = int(match[2])
    return Caller(token, user, group, client_ip, pinned)


def _within(client_ip: str, token: TokenRow) -> bool:
    try:
        address = plain_address(client_ip)
    except ValueError:
        return False
    return any(address in network for network in token.subnets)


def authorize(caller: Caller, model: str) -> None:
    """Raises ModelForbidden for a model that the token does not allow."""
    if caller.token.models and model not in caller.token.models:
        raise ModelForbidden
