"""A process takes on so many requests, and so many bytes of bodies, and refuses the next before it reads it."""

import pytest

from gateway.limits import Gate
from wire.errors import Unavailable


def test_the_request_above_the_bound_is_refused() -> None:
    gate = Gate(2, 100)
    with gate.enter(), gate.enter():
        with pytest.raises(Unavailable) as refusal:
            gate.enter()
        assert (refusal.value.status, refusal.value.headers["Retry-After"]) == (503, "1")

    with gate.enter():
        assert gate.requests == 1


def test_bodies_above_the_bound_are_refused() -> None:
    gate = Gate(10, 100)
    with gate.enter() as first:
        first.add_bytes(60)
        with pytest.raises(Unavailable), gate.enter() as second:
            second.add_bytes(41)
        assert gate.bytes == 60
        with gate.enter() as third:
            third.add_bytes(40)
            with pytest.raises(Unavailable):
                gate.enter()


def test_a_body_read_piece_by_piece_counts_as_one() -> None:
    gate = Gate(10, 100)
    with gate.enter() as alone:
        for _ in range(30):
            alone.add_bytes(10)
        assert gate.bytes == 300
    assert gate.bytes == 0


def test_a_request_that_fails_leaves_no_trace() -> None:
    gate = Gate(1, 10)

    def fail() -> None:
        with gate.enter() as entry:
            entry.add_bytes(10)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert (gate.requests, gate.bytes) == (0, 0)
