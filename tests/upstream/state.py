"""What the simulator knows and counts; shared between its thread and the tests, which only read counters and swap lists."""

from collections.abc import Iterable

from tests.upstream.faults import NONE, Fault
from tests.upstream.received import Received

MODELS = (
    "gpt-4o-mini", "gpt-4o", "o4-mini", "gpt-3.5-turbo-instruct", "text-embedding-3-small", "omni-moderation-latest",
)  # fmt: skip


class State:
    """`served` good answers to their end, `aborted` by clients that left, `open` right now, `refused` with these messages as invalid."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.keys = set(keys)
        self.open = 0  # a gauge of what is running: no reset changes it
        self.faults: list[Fault] = []
        self.reset()

    def reset(self) -> None:
        """Forgets requests, counters, faults, and models that a test added."""
        for fault in self.faults:
            fault.release()
        self.requests: list[Received] = []
        self.refused: list[str] = []
        self.faults = []
        self.models = set(MODELS)
        self.served = self.aborted = 0

    def fault_for(self, received: Received) -> Fault:
        """The newest fault that fits, counted as hit."""
        path = received.path.removeprefix("/v1/")
        return next((fault for fault in reversed(self.faults) if fault.takes(path, received.model, received.key)), NONE)
