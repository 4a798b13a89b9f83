"""Wrong keys from one address are counted, and after too many it is told to wait (docs/security.md 29)."""

import pytest

from gateway import limits
from gateway.limits import Throttle
from wire.errors import RateLimited


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def fail(throttle: Throttle, address: str, times: int) -> None:
    for _ in range(times):
        throttle.check(address)
        throttle.count(address)


def limited(throttle: Throttle, address: str) -> bool:
    try:
        throttle.check(address)
    except RateLimited:
        return True
    return False


def test_an_address_is_told_to_wait() -> None:
    throttle = Throttle(limit=3)
    fail(throttle, "203.0.113.7", 3)

    with pytest.raises(RateLimited) as refusal:
        throttle.check("203.0.113.7")

    assert refusal.value.status == 429
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 61
    assert not limited(throttle, "203.0.113.8")


def test_it_may_try_again_when_it_has_waited() -> None:
    clock = Clock()
    throttle = Throttle(limit=3, window=60, clock=clock)
    fail(throttle, "203.0.113.7", 3)
    with pytest.raises(RateLimited) as refusal:
        throttle.check("203.0.113.7")

    clock.seconds += int(refusal.value.headers["Retry-After"])

    assert not limited(throttle, "203.0.113.7")


def test_the_window_slides() -> None:
    clock = Clock()
    throttle = Throttle(limit=100, window=60, clock=clock)
    fail(throttle, "a", 100)
    clock.seconds += 61

    passed = 0
    while not limited(throttle, "a"):
        throttle.count("a")
        passed += 1

    assert passed < 5  # a burst at the end of one window and another at the start of the next are not twice the limit


def test_old_failures_are_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(limit=100, window=60, clock=clock)
    fail(throttle, "a", 100)
    clock.seconds += 121

    fail(throttle, "a", 100)

    assert limited(throttle, "a")


def test_one_network_of_ipv6_is_one_guesser() -> None:
    throttle = Throttle(limit=3)
    fail(throttle, "2001:db8:0:1::1", 1)
    fail(throttle, "2001:db8:0:1:ffff::2", 1)
    fail(throttle, "2001:db8:0:1::3", 1)

    assert limited(throttle, "2001:db8:0:1:abcd::9")
    assert not limited(throttle, "2001:db8:0:2::1")


def test_ipv4_behind_a_socket_for_both_is_ipv4() -> None:
    throttle = Throttle(limit=1)
    fail(throttle, "::ffff:203.0.113.7", 1)

    assert limited(throttle, "203.0.113.7")
    assert not limited(throttle, "::ffff:203.0.113.8")


def test_so_many_addresses_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ADDRESSES", 2)
    throttle = Throttle(limit=1)
    for address in ("a", "b", "c"):
        throttle.count(address)

    assert [limited(throttle, address) for address in ("a", "b", "c")] == [False, True, True]


@pytest.mark.parametrize("address", ["", "unix", "not:an:address"])
def test_any_peer_can_be_counted(address: str) -> None:
    throttle = Throttle(limit=1)
    throttle.count(address)

    assert limited(throttle, address)
