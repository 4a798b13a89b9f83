"""The data folder: made for its owner only, and on SQLite locked for one server.

flock: https://man7.org/linux/man-pages/man2/flock.2.html (the lock belongs to the open file, so children that inherit it keep it)
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path

PATIENCE = 3.0  # seconds: a server that was just killed is gone by then


class Occupied(Exception):
    """Another server runs on the folder; the text is a sentence."""


def prepare(folder: Path, broker: Path) -> None:
    """Creates the folder and what lies in it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    broker.mkdir(mode=0o700, exist_ok=True)
    (broker / "control").mkdir(mode=0o700, exist_ok=True)


def take(folder: Path) -> int:
    """The descriptor of the folder's lock, inheritable and held. Raises Occupied."""
    descriptor = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        if time.monotonic() > deadline:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Occupied(f"Another server (process {holder or 'unknown'}) runs on {folder}: stop it, or set another DATA_DIR.")
        time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    os.set_inheritable(descriptor, True)
    return descriptor
