"""The key is taken from the four headers that clients use, and from nothing that only looks like a key."""

import pytest

from gateway.keys import find_key

KEY = b"sk-key"


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer sk-key"},
        {b"authorization": b"bearer  sk-key "},
        {b"authorization": b"sk-key"},
        {b"x-api-key": b"sk-key"},
        {b"x-goog-api-key": b" sk-key"},
        {b"api-key": b"sk-key"},
    ],
)
def test_each_header_carries_a_key(headers: dict[bytes, bytes]) -> None:
    assert find_key(headers) == KEY


@pytest.mark.parametrize("nothing", [b"", b"Bearer", b"Bearer ", b"Bearer undefined", b"Bearer null", b"Basic dXNlcjpwYXNz", b"Bearer a b"])
def test_what_is_no_key_leaves_the_next_header_its_turn(nothing: bytes) -> None:
    assert find_key({b"authorization": nothing}) is None
    assert find_key({b"authorization": nothing, b"x-api-key": KEY}) == KEY


def test_the_authorization_header_goes_before_the_others() -> None:
    assert find_key({b"x-api-key": b"sk-other", b"authorization": b"Bearer sk-key"}) == KEY
