"""Charges that the database has not confirmed, on disk: what was delivered to its end is never forgotten (docs/ledger.md §4 and §6).

One file a boot id, locked as long as its process lives. It is created under a temporary name, locked, then renamed, so that nobody ever sees
it unlocked while its owner lives; whoever can lock it has proof that the owner is dead. Each record is its length, the CRC-32 of its payload,
and a booking in MessagePack; a torn record at the end was never promised to anybody.
"""

import fcntl
import os
import struct
import uuid
import zlib
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from billing.ledger.records import Booking

MAGIC = b"oneapi journal 1\n"
SUFFIX = ".journal"
REFUSED = ".refused"  # of files that no process reads again: the operator does
_FRAME = struct.Struct(">II")
LARGEST = 4 * 2**20  # bytes of one record: a length beyond it is damage

log = structlog.get_logger("billing.ledger")


class JournalTaken(Exception):
    """Its process lives, or somebody else adopts it."""


class Journal:
    """This process's file. One thread at a time writes; `count` and `amount` (nano-dollars) may be read by any."""

    def __init__(self, folder: Path, boot_id: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{boot_id}{SUFFIX}"
        temporary = folder / f".{boot_id}.new"
        self._handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._handle, MAGIC)
        os.fsync(self._handle)
        os.rename(temporary, self.path)
        sync_folder(folder)
        self._pending: dict[uuid.UUID, int] = {}

    @property
    def count(self) -> int:
        """Charges on disk that the database has not confirmed."""
        return len(self._pending)

    @property
    def amount(self) -> int:
        """Their sum."""
        return sum(list(self._pending.values()))

    def append(self, bookings: Iterable[Booking]) -> None:
        """Writes charges and waits until the disk has them. Raises OSError: then none of them is promised."""
        bookings = list(bookings)
        size = os.fstat(self._handle).st_size
        data = memoryview(b"".join(map(_record, bookings)))
        try:
            while data:
                data = data[os.write(self._handle, data) :]
            os.fsync(self._handle)
        except OSError:
            os.ftruncate(self._handle, size)
            raise
        self._pending.update((booking.id, booking.facts.amount) for booking in bookings)

    def settled(self, charges: Iterable[uuid.UUID]) -> None:
        """The database has these now. The file is emptied when it has all: a repeated record would do no harm."""
        for charge in charges:
            self._pending.pop(charge, None)
        if not self._pending and os.fstat(self._handle).st_size > len(MAGIC):
            os.ftruncate(self._handle, len(MAGIC))

    def rename(self, boot_id: str) -> None:
        """The process goes on under another boot id."""
        fresh = self.path.with_name(f"{boot_id}{SUFFIX}")
        os.rename(self.path, fresh)
        self.path = fresh

    def set_aside(self, booking: Booking) -> None:
        """A charge that the database will never take: a file of its own beside the journals, for the operator. Raises OSError, OverflowError."""
        with open(self.path.with_name(f"{booking.id}{REFUSED}"), "wb") as file:
            file.write(MAGIC + _record(booking))
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.path.parent)

    def close(self, *, keep: bool) -> None:
        """Gives the lock up; the file goes unless it is to be adopted."""
        if not keep:
            self.path.unlink(missing_ok=True)
        os.close(self._handle)


class Orphan:
    """The file of a dead process, locked by its adopter. Raises JournalTaken, or FileNotFoundError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.boot_id = path.name.removesuffix(SUFFIX)
        self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(os.fstat(self._handle), os.stat(path)):
                raise JournalTaken(str(path))
        except (OSError, JournalTaken) as error:
            os.close(self._handle)
            raise JournalTaken(str(path)) from error

    def read(self) -> list[Booking]:
        """Its charges, up to the first record that is damaged; one that is only torn at the end says nothing."""
        data = self.path.read_bytes()
        if not data.startswith(MAGIC):
            if data:
                log.critical("ledger.journal_unreadable", path=str(self.path))
            return []
        bookings, end = decode(data, len(MAGIC))
        if end < len(data):
            log.error("ledger.journal_torn", path=str(self.path), read=len(bookings), bytes_left=len(data) - end)
        return bookings

    def set_aside(self) -> None:
        """Keeps it for the operator, beside the journals."""
        os.rename(self.path, self.path.with_suffix(REFUSED))
        os.close(self._handle)

    def done(self) -> None:
        """All of it is in the database."""
        self.path.unlink(missing_ok=True)
        os.close(self._handle)

    def leave(self) -> None:
        """Not now: somebody tries again."""
        os.close(self._handle)


def orphans(folder: Path) -> list[Orphan]:
    """The journals whose processes are dead, locked."""
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            found.append(Orphan(path))
        except (JournalTaken, FileNotFoundError):
            continue
    return found


def refused(folder: Path) -> list[Path]:
    """The files that were set aside."""
    return sorted(folder.glob(f"*{REFUSED}"))


def decode(data: bytes, start: int = 0) -> tuple[list[Booking], int]:
    """The whole records from `start` on, and where the first that is not whole begins."""
    bookings = []
    while start + _FRAME.size <= len(data):
        length, checksum = _FRAME.unpack_from(data, start)
        payload = data[start + _FRAME.size : start + _FRAME.size + length]
        if length > LARGEST or len(payload) < length or zlib.crc32(payload) != checksum:
            break
        try:
            bookings.append(msgspec.msgpack.decode(payload, type=Booking))
        except msgspec.MsgspecError:
            break
        start += _FRAME.size + length
    return bookings, start


def _record(booking: Booking) -> bytes:
    payload = msgspec.msgpack.encode(booking)
    return _FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def sync_folder(folder: Path) -> None:
    """A rename is on disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
