"""The simulator on a free port, in a thread of the test's own process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvicorn

from tests.upstream.app import serve as serve_request
from tests.upstream.faults import Fault
from tests.upstream.received import Received
from tests.upstream.state import State

KEY = "sk-upstream-key-of-the-simulator-0001"
KEYS = (KEY, "sk-upstream-key-of-the-simulator-0002", "sk-upstream-key-of-the-simulator-0003")
PATIENCE = 10.0


class Upstream:
    """A running simulator. Its base URL for channels is `url`, with or without `/v1` behind it."""

    key = KEY

    def __init__(self, state: State, port: int) -> None:
        self._state = state
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"http://{self.host}"

    @property
    def keys(self) -> set[str]:
        """All keys that it takes; add your own."""
        return self._state.keys

    @property
    def models(self) -> set[str]:
        """All models that it knows; add your own, which then serve on every endpoint."""
        return self._state.models

    @property
    def requests(self) -> list[Received]:
        """All requests since the last reset, refused ones too."""
        return self._state.requests

    @property
    def refused(self) -> list[str]:
        """Why requests were refused as invalid: empty unless a test wants otherwise."""
        return self._state.refused

    @property
    def served(self) -> int:
        """Good answers that were sent to their end."""
        return self._state.served

    @property
    def aborted(self) -> int:
        """Answers that a client left before their end."""
        return self._state.aborted

    @property
    def open(self) -> int:
        """Answers in the making now."""
        return self._state.open

    def fault(self, **what: Any) -> Fault:
        """Adds a Fault (its fields by name); of several that fit a request, the newest one is taken."""
        fault = Fault(**what)
        self._state.faults.append(fault)
        return fault

    def reset(self) -> None:
        """Forgets requests, counters and faults; stalled answers go on."""
        self._state.reset()

    def wait_for(self, condition: Callable[["Upstream"], bool], patience: float = PATIENCE) -> None:
        """Until something is true of it. AssertionError when it does not become so."""
        deadline = time.monotonic() + patience
        while not condition(self):
            assert time.monotonic() < deadline, f"open {self.open}, served {self.served}, aborted {self.aborted}"
            time.sleep(0.01)


@contextmanager
def serve(*more_keys: str) -> Iterator[Upstream]:
    """A simulator that takes KEYS and `more_keys`; ends with the block, whatever is open."""
    state = State((*KEYS, *more_keys))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        config = uvicorn.Config(
            partial(serve_request, state),
            interface="asgi3",
            http="httptools",
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_keep_alive=60,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive(), "the simulator did not start"
            assert time.monotonic() < deadline, "the simulator did not start in time"
            time.sleep(0.005)
        try:
            yield Upstream(state, listener.getsockname()[1])
        finally:
            state.reset()
            server.should_exit = server.force_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the simulator did not stop"
