"""Bearers that nobody issued (security: 10,000 hostile bearers; prefixes never meet; lookups by digest)."""

import hashlib
import random
import re
import socket
import string

import pytest

from gateway.keys import authenticate, find_key
from tests.gateway.known import KEY, NOW, snapshot, token, user
from wire.errors import Unauthorized, render_openai

HERE = "203.0.113.7"
OF_ITS_OWNER = re.compile(rb"(sk-)?%b(-[0-9]{1,18})?" % KEY[3:].encode())  # the key itself, or with a channel: a 403 of its own
PIECES = [
    b"'", b'"', b"`", b"\x00", b"\n", b"\r\n", b"%00", b"\\u0000", b"' OR '1'='1", b"'; DROP TABLE gateway_token; --", b"${jndi:x}", b"{{7*7}}",
    b"\xff\xfe", "é".encode(), "１２３".encode(), "ａ".encode(), "\u202e".encode(), "💥".encode(), b"-1", b"-0", b"--", b"sk-", b"sk-sk-", b"Bearer ",
    b"../", b"*", b"%", b"_", b"a" * 48, KEY.encode(), KEY[:-1].encode(), KEY.swapcase().encode(), b"-99999999999999999999",
]  # fmt: skip


def hostile(count: int) -> list[bytes]:
    """Always the same bearers, none of which is the key."""
    dice = random.Random(42)
    made = [b"", b"a" * 2**20, b"sk-" + b"a" * 2**20, b"\x00" * 2**20, b"sk-" + b"-" * 2**20, "é".encode() * 2**19]
    while len(made) < count:
        noise = bytes(dice.randrange(256) for _ in range(dice.randrange(40)))
        made.append(b"".join(dice.choice((noise, *PIECES)) for _ in range(dice.randrange(1, 5))))
    return [bearer for bearer in made if not OF_ITS_OWNER.fullmatch(bearer)]


def refused(bearer: bytes | None) -> bytes:
    with pytest.raises(Unauthorized) as refusal:
        authenticate(bearer, HERE, snapshot(), NOW)
    return render_openai(refusal.value, "id")


def test_10_000_hostile_bearers_get_one_401_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/security.md 3: nothing is asked of a database, as no connection is opened at all, and pytest-django bars Django's own."""
    monkeypatch.setattr(socket, "socket", None)
    known = snapshot()
    form = refused(None)
    for bearer in hostile(10_000):
        for headers in ({b"authorization": b"Bearer " + bearer}, {b"x-api-key": bearer}):
            with pytest.raises(Unauthorized) as refusal:
                authenticate(find_key(headers), HERE, known, NOW)
            assert render_openai(refusal.value, "id") == form


@pytest.mark.parametrize("end", ["\n", " ", "\x00", "-", "-x", "-1.5", "--1", "-١", "-9999999999999999999"])
def test_a_right_key_with_anything_behind_it_is_wrong(end: str) -> None:
    with pytest.raises(Unauthorized):
        authenticate(KEY.encode() + end.encode(), HERE, snapshot(users=(user(staff=True),)), NOW)


def test_keys_that_share_a_prefix_never_meet() -> None:
    """docs/security.md 19: 48 neighbours that each differ from the key in one place find themselves only."""
    keys = [KEY] + [KEY[:place] + ("x" if KEY[place] != "x" else "y") + KEY[place + 1 :] for place in range(3, len(KEY))]
    known = snapshot(*(token(key, id=number) for number, key in enumerate(keys)))

    found = [authenticate(key.encode(), HERE, known, NOW).token.id for key in keys]

    assert found == list(range(len(keys)))
    for length in range(3, len(KEY)):
        with pytest.raises(Unauthorized):
            authenticate(KEY[:length].encode(), HERE, known, NOW)


def test_case_tells_keys_apart() -> None:
    with pytest.raises(Unauthorized):
        authenticate(KEY.swapcase().encode(), HERE, snapshot(), NOW)


def test_a_key_is_found_by_the_digest_of_all_of_it() -> None:
    """docs/security.md 29: what is compared depends on the key only through SHA-256, and no snapshot holds a key."""
    known = snapshot()

    assert list(known.tokens) == [hashlib.sha256(KEY.encode()).hexdigest()]
    assert KEY[3:] not in repr(known.tokens)


def test_a_digest_is_no_key() -> None:
    with pytest.raises(Unauthorized):
        authenticate(hashlib.sha256(KEY.encode()).hexdigest().encode(), HERE, snapshot(), NOW)


def test_the_alphabet_is_ascii() -> None:
    letters = set(string.ascii_letters + string.digits)
    for character in map(chr, range(256)):
        bearer = b"sk-" + (character * 48).encode()[:48]
        if character not in letters:
            assert refused(bearer) == refused(None)
