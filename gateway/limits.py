"""What one process takes on at once, and how often an address may guess at keys. In memory, pure."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType

from wire.errors import RateLimited, Unavailable

ADDRESSES = 10_000  # that a throttle remembers
BAD_KEYS = 600  # bad bearers an address may send in a window before it is told to wait
WINDOW = 60.0  # seconds
NETWORK_OF_ONE = 64  # bits: what one subscriber has of IPv6, and may send from any address of


class Gate:
    """Requests in flight and the bytes of their bodies. A body that alone is above the bound passes when nothing else is held."""

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0

    def enter(self) -> "Entry":
        """A context manager for one request. Raises Unavailable at a bound."""
        if self.requests >= self._max_requests or self.bytes >= self.max_bytes:
            raise full()
        return Entry(self)


def full() -> Unavailable:
    """The refusal of a request that is one too many."""
    return Unavailable("The gateway is serving as many requests as it can. Try again in a moment.", retry_after=1)


class Entry:
    """One request inside the gate."""

    __slots__ = ("_bytes", "_gate")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._bytes = 0

    def add_bytes(self, count: int) -> None:
        """So much of its body was read. Raises Unavailable where that is more than can be held."""
        held_by_others = self._gate.bytes - self._bytes
        if held_by_others and self._gate.bytes + count > self._gate.max_bytes:
            raise full()
        self._bytes += count
        self._gate.bytes += count

    def __enter__(self) -> "Entry":
        self._gate.requests += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._gate.requests -= 1
        self._gate.bytes -= self._bytes


class Failures:
    """The failures of one address in this window and the one before: their weighted sum is that of a sliding window, in three numbers."""

    __slots__ = ("before", "now", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.now = 0
        self.before = 0

    def count(self, at: float, window: float) -> float:
        """How many there were in the window that ends at `at`."""
        passed = at - self.since
        if passed >= window:
            self.before = self.now if passed < 2 * window else 0
            self.now = 0
            self.since += window * (passed // window)
            passed = at - self.since
        return self.now + self.before * (1 - passed / window)


class Throttle:
    """Failures an address in a sliding window. Only failures count, so that a busy client behind one address is never slowed."""

    def __init__(self, limit: int = BAD_KEYS, window: float = WINDOW, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._window = window
        self._clock = clock
        self._failures: OrderedDict[str, Failures] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises RateLimited where the address has failed too often."""
        failures = self._failures.get(_guesser(address))
        if failures is None:
            return
        at = self._clock()
        if failures.count(at, self._window) >= self._limit:
            wait = int(failures.since + self._window - at) + 1
            raise RateLimited("Too many requests with a wrong API key came from your address. Wait, then use a valid key.", retry_after=wait)

    def count(self, address: str) -> None:
        """One more failure."""
        guesser, at = _guesser(address), self._clock()
        failures = self._failures.get(guesser)
        if failures is None:
            failures = self._failures[guesser] = Failures(at)
        failures.count(at, self._window)
        failures.now += 1
        self._failures.move_to_end(guesser)
        if len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)


def _guesser(address: str) -> str:
    """Whom an address stands for: itself, and with IPv6 its network, of which one guesser has all addresses."""
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address)
    except ValueError:
        return address
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), NETWORK_OF_ONE), strict=False))
