"""What was delivered is on disk where the database does not confirm it, and is booked once, by whoever lives."""

import datetime
import errno
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger import unconfirmed
from billing.ledger.errors import NotBooked
from billing.ledger.journal import MAGIC, Journal, JournalTaken, Orphan, decode, orphans
from billing.ledger.records import Booking, uuid7
from billing.ledger.reserve import Ledger
from billing.ledger.store import ConnectionLost
from billing.models import Balance, Process, UsageRecord
from tests.billing.ledger.conftest import WALLET, die, differences, facts, fund, until
from tests.orm import in_thread


class Outage:
    """Makes a ledger's database stop answering, and answer again."""

    def __init__(self, ledger, monkeypatch):
        self.away = True
        store = ledger._store
        for name in ("settle", "connect", "beat", "move"):
            monkeypatch.setattr(store, name, self._failing(getattr(store, name)))

    def _failing(self, real):
        def call(*arguments):
            if self.away:
                raise ConnectionLost("gone")
            return real(*arguments)

        return call


async def count():
    return await in_thread(UsageRecord.objects.count)


@pytest.fixture
def impatient(monkeypatch):
    """A COMMIT is late after a moment."""
    monkeypatch.setattr(unconfirmed.Unconfirmed.look, "__defaults__", (0.1,))


async def test_a_charge_that_is_not_confirmed_is_on_disk_and_booked_later(ledger, monkeypatch, impatient):
    await in_thread(fund, WALLET, 1000)
    async with ledger.reserve([WALLET], 100, 100) as charge:
        outage = Outage(ledger, monkeypatch)
        await ledger.settle(charge, facts(70))
    bookings, _ = decode(ledger._journal.path.read_bytes(), len(MAGIC))
    assert [(booking.id, booking.facts.amount) for booking in bookings] == [(charge.id, 70)]
    assert await count() == 0
    outage.away = False

    async def settled():
        return await count() == 1 and ledger._journal.count == 0

    await until(settled)
    assert ledger._journal.path.read_bytes() == MAGIC
    assert await in_thread(differences) == []


async def test_the_journal_of_a_dead_process_is_booked_by_the_next(ledger_config, monkeypatch, impatient):
    await in_thread(fund, WALLET, 1000)
    first = Ledger(ledger_config)
    await first.start()
    async with first.reserve([WALLET], 100, 100) as charge:
        outage = Outage(first, monkeypatch)
        await first.settle(charge, facts(70))
    await die(first)
    outage.away = False
    second = Ledger(ledger_config)
    await second.start()
    await second.stop(5)
    assert await count() == 1
    assert (await in_thread(Balance.objects.get)).available == 930
    assert list(first._journal.path.parent.iterdir()) == []


async def test_the_living_adopt_at_their_next_beat_what_is_booked_already(ledger, ledger_config):
    await in_thread(fund, WALLET, 1000)
    first = Ledger(ledger_config)
    await first.start()
    async with first.reserve([WALLET], 100, 100) as charge:
        await first.settle(charge, facts(70))
        first._journal.append([Booking(charge.id, charge.at, first.boot_id, (charge.parts[0][0].balance_id,), facts(70))])
    await die(first)

    async def adopted():
        return not first._journal.path.exists()

    await until(adopted)
    assert await count() == 1
    assert (await in_thread(Process.objects.get, boot_id=first.boot_id)).fenced
    assert await in_thread(differences) == []


async def test_the_end_is_not_sent_where_the_disk_is_full_too(ledger, monkeypatch, impatient):
    def full(_bookings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ledger._journal, "append", full)
    monkeypatch.setattr(unconfirmed, "GIVEN_UP", 0.3)
    await in_thread(fund, WALLET, 1000)
    async with ledger.reserve([WALLET], 100, 100) as charge:
        outage = Outage(ledger, monkeypatch)
        with pytest.raises(NotBooked):
            await ledger.settle(charge, facts(70))
    outage.away = False
    await until(lambda: _is(1))
    assert await in_thread(differences) == []


async def _is(number):
    return await count() == number


def booking(amount=5):
    return Booking(uuid7(1), datetime.datetime.now(tz=datetime.UTC), "b" * 32, (1, 2), facts(amount))


def test_a_file_belongs_to_who_holds_its_lock(tmp_path):
    mine = Journal(tmp_path, "a" * 32)
    mine.append([booking()])
    with pytest.raises(JournalTaken):
        Orphan(mine.path)
    mine.close(keep=True)
    (orphan,) = orphans(tmp_path)
    assert orphan.boot_id == "a" * 32
    assert len(orphan.read()) == 1
    orphan.done()
    assert orphans(tmp_path) == []


@given(st.lists(st.integers(0, 10**15), max_size=4), st.data())
def test_a_torn_or_damaged_file_gives_what_was_written_before(amounts, data):
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder), "c" * 32)
        journal.append([booking(amount) for amount in amounts])
        raw = bytearray(journal.path.read_bytes()[len(MAGIC) :])
        journal.close(keep=True)
    whole = [found.facts.amount for found in decode(bytes(raw))[0]]
    assert whole == amounts
    if raw:
        cut = data.draw(st.integers(0, len(raw) - 1))
        torn = [found.facts.amount for found in decode(bytes(raw[:cut]))[0]]
        assert torn == amounts[: len(torn)]
        assert len(torn) < len(amounts)
        raw[cut] ^= 1 << data.draw(st.integers(0, 7))
        damaged = [found.facts.amount for found in decode(bytes(raw))[0]]
        assert damaged == amounts[: len(damaged)]
        assert len(damaged) < len(amounts)
