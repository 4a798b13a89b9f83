"""Buries the dead: replays their journals, fences them, and gives their leases back (docs/ledger.md §6).

On one host a lock that can be had proves death at once. Elsewhere a process is dead only after it was seen with the same beat for SILENT
seconds of our own clock, which nobody sets, by looks that were answered at least every LOOK seconds: a gap starts the wait anew, so that
after an outage nobody fences the living.
"""

import time
from pathlib import Path

import msgspec
import structlog

from billing.ledger.journal import Orphan, orphans
from billing.ledger.processes import Slot, reap_dead
from billing.ledger.records import Booking
from billing.ledger.store import BadRow, Store, TooOld

SILENT = 15.0  # seconds with one and the same beat
LOOK = 2.0  # seconds between two looks at most
BATCH = 200  # charges replayed in one transaction

log = structlog.get_logger("billing.ledger")


def boot_time() -> float:
    """Seconds by a clock that also counts while the machine sleeps, and that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Reaper:
    """One a process; its looks happen in the writer's thread, on the writer's connection."""

    def __init__(self, store: Store, data_dir: Path, slot: Slot) -> None:
        self._store = store
        self._slots = data_dir / "processes"
        self._journals = data_dir / "journal"
        self._slot = slot
        self._seen: dict[str, tuple[int, float]] = {}  # boot id: its beat, and since when it is the same
        self._looked = 0.0

    def look(self) -> None:
        """Buries whoever is dead by now. Raises what a Store does."""
        for orphan in orphans(self._journals):
            self._adopt(orphan)
        reap_dead(self._store, self._slots, self._slot)
        self._watch_beats(boot_time())

    def _adopt(self, orphan: Orphan) -> None:
        """A dead process's charges, on its own leases; then these go back."""
        bookings = orphan.read()
        try:
            refused = sum(replay(self._store, bookings[start : start + BATCH]) for start in range(0, len(bookings), BATCH))
            self._store.reap(orphan.boot_id)
        except BaseException:
            orphan.leave()
            raise
        if refused:
            log.critical("ledger.journal_refused", boot_id=orphan.boot_id, charges=refused)
            orphan.set_aside()
            return
        orphan.done()
        log.info("ledger.journal_adopted", boot_id=orphan.boot_id, charges=len(bookings))

    def _watch_beats(self, now: float) -> None:
        gap, self._looked = now - self._looked > LOOK, now
        seen: dict[str, tuple[int, float]] = {}
        for boot_id, _slot, _host, beat in self._store.living():
            before = self._seen.get(boot_id)
            seen[boot_id] = before if before is not None and before[0] == beat and not gap else (beat, now)
        self._seen = seen
        for boot_id, (beat, since) in seen.items():
            if boot_id != self._store.boot_id and now - since >= SILENT and self._store.reap(boot_id, beat):
                log.warning("ledger.silent_process_fenced", boot_id=boot_id)


def replay(store: Store, bookings: list[Booking]) -> int:
    """Books charges again that may be in the database already; gives back how many it refuses even alone and without their detail."""
    if not bookings:
        return 0
    try:
        store.settle(bookings)
    except BadRow as error:
        if len(bookings) > 1:
            middle = len(bookings) // 2
            return replay(store, bookings[:middle]) + replay(store, bookings[middle:])
        bare = bookings[0]
        if bare.facts.detail != "{}" and not isinstance(error, TooOld):
            return replay(store, [msgspec.structs.replace(bare, facts=msgspec.structs.replace(bare.facts, detail="{}"))])
        log.critical("ledger.charge_refused", charge=str(bare.id), amount=bare.facts.amount, error=str(error))
        return 1
    return 0
