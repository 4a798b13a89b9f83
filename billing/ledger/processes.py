"""Which processes live: a slot a process, held by a lock on a file, so that on one host death is proved at once (docs/ledger.md §6).

A lock that we can take is not held by anybody: whatever process of this host wrote that slot into its row is dead, and its leases go back.
After every lock the file must still be the one at that path; a missing file proves nothing.
"""

import fcntl
import os
import socket
from pathlib import Path

import structlog

from billing.ledger.store import Store

log = structlog.get_logger("billing.ledger")


class SlotTaken(Exception):
    """Another process holds this slot's lock."""


class Slot:
    """A number from 0 that one living process of this data folder has."""

    def __init__(self, number: int, handle: int, path: Path) -> None:
        self.number = number
        self._handle = handle
        self._path = path

    @classmethod
    def take(cls, folder: Path, number: int, create: bool = True) -> "Slot":
        """Locks the slot's file. Raises SlotTaken, or FileNotFoundError where `create` is off."""
        path = folder / f"slot-{number}.lock"
        handle = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(handle), os.stat(path)):
                raise SlotTaken(str(path))
        except (OSError, SlotTaken) as error:
            os.close(handle)
            raise SlotTaken(str(path)) from error
        return cls(number, handle, path)

    @classmethod
    def first_free(cls, folder: Path) -> "Slot":
        """The lowest slot that nobody holds."""
        folder.mkdir(parents=True, exist_ok=True)
        number = 0
        while True:
            try:
                return cls.take(folder, number)
            except SlotTaken:
                number += 1

    def release(self) -> None:
        """Gives the slot up; the file stays."""
        os.close(self._handle)


def host_of(folder: Path) -> str:
    """This host and data folder: slots are compared within both."""
    return f"{socket.gethostname()}:{folder}"[:255]


def reap_dead(store: Store, folder: Path, own: Slot) -> list[str]:
    """Fences every process of this host and folder whose slot is free or ours, and gives its leases back. Gives back their boot ids."""
    reaped = []
    for boot_id, slot, host, _beat in store.living():
        if host != host_of(folder) or boot_id == store.boot_id:
            continue
        borrowed = None
        if slot != own.number:
            try:
                borrowed = Slot.take(folder, slot, create=False)
            except (SlotTaken, FileNotFoundError):
                continue
        if store.reap(boot_id):
            log.info("ledger.reaped", boot_id=boot_id, slot=slot)
            reaped.append(boot_id)
        if borrowed is not None:
            borrowed.release()
    return reaped
