"""Several virtual processes on one database do whatever may happen, in any order; after every step the ledger's equation holds (docs/ledger.md §7).

Everything runs in one thread, so that Hypothesis can repeat and shrink it: writers are assembled but not started, and work when they are told.
Stories are told for MODEL_SECONDS; a failure names its seed, and with that as MODEL_SEED it is told again and made as short as can be, however
long that takes. script/soak tells many.
"""

import asyncio
import itertools
import os
import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from billing import wallets
from billing.archive import archive
from billing.audit import audit
from billing.budgets import calendar, set_budgets
from billing.holds import expire_holds
from billing.ledger import leases
from billing.ledger.errors import LedgerError
from billing.ledger.records import BalanceKey, Booking, time_of
from billing.ledger.reserve import Ledger, LedgerConfig
from billing.ledger.store import ConnectionLost, TooOld
from billing.models import (
    Balance,
    Budget,
    Checkpoint,
    ClosedMonth,
    Counter,
    Hold,
    Lease,
    LedgerEntry,
    LimitChange,
    Process,
    UsageRecord,
)
from billing.months import MonthError, close_ended, database_month, kept_from, start_of
from billing.partitions import month_after
from billing.prune import prune
from billing.rollup import fold_counters
from billing.wallets import NotEnoughMoney
from tests.billing.ledger.conftest import TOKEN, WALLET, differences, facts

AMOUNTS = st.integers(1, 1000)
WHO = st.integers(0, 2)
WHICH = st.integers(0, 10**6)
TODAY = calendar().running(time.time())["day"].first
DAYS = st.sampled_from([None, None, "2001-02-03", TODAY, "2199-01-01"])  # one is over, one runs, one comes
MODELS = (Checkpoint, ClosedMonth, UsageRecord, Lease, Hold, LedgerEntry, LimitChange, Counter, Balance, Budget, Process)


class Flaky:
    """Between a store and its database: the next transaction's COMMIT gets no answer, whether it happened or not."""

    def __init__(self, store):
        self._store = store
        self.plan = None
        for name in ("settle", "move"):
            setattr(store, name, self._wrapped(getattr(store, name)))

    def _wrapped(self, real):
        def call(*arguments):
            plan, self.plan = self.plan, None
            if plan == "lost before":
                raise ConnectionLost("cut before the COMMIT")
            result = real(*arguments)
            if plan == "lost after":
                raise ConnectionLost("cut after the COMMIT")
            return result

        return call


class Virtual(Ledger):
    """A process without threads."""

    def __init__(self, config, loop):
        super().__init__(config)
        self.loop = loop
        self.assemble(loop)
        self.flaky = Flaky(self._store)
        self.stalled = False

    def turn(self):
        """The loop's callbacks and the writer's queue, until both have nothing to do."""
        for _ in range(50):
            self.loop.run_until_complete(asyncio.sleep(0))
            if not self._writer._queued():
                return
            self._writer.work()
        raise AssertionError("the writer never comes to rest")

    def finish(self, coroutine):
        """Its result, or None where the ledger refuses."""
        task = self.loop.create_task(coroutine)
        for _ in range(200):
            self.loop.run_until_complete(asyncio.sleep(0))
            if task.done():
                self.turn()
                return None if isinstance(task.exception(), LedgerError) else task.result()
            self._writer.work()
        raise AssertionError("a request waits for ever")

    def beat(self):
        self._writer.beat()
        self.turn()

    def die(self):
        """What `kill -9` leaves."""
        self._store.close()
        self._unconfirmed.close()
        os.close(self._journal._handle)
        os.close(self._slot._handle)


class Stories(RuleBasedStateMachine):
    """`open` are requests in flight, `delivered` the ids whose clients have the end of their answer."""

    config: LedgerConfig

    @initialize()
    def begin(self):
        for model in MODELS:
            model.objects.all().delete()
        self.loop = asyncio.new_event_loop()
        self.config_now = type(self).config._replace(data_dir=type(self).config.data_dir / os.urandom(4).hex(), lease_idle=0.0)
        Path(self.config_now.data_dir).mkdir()
        self.processes = [Virtual(self.config_now, self.loop) for _ in range(3)]
        self.open, self.booked, self.delivered, self.excess = [], [], set(), 0
        self.holds, self.gone = [], []
        self.this_month = database_month()
        Balance.objects.create(kind="wallet", subject=1, available=0)
        Balance.objects.create(kind="token", subject=1, available=5000, limit=5000)

    # --- people ---

    @rule(amount=AMOUNTS)
    def credit(self, amount):
        wallets.credit(_Someone, amount)

    @rule(amount=AMOUNTS)
    def debit(self, amount):
        try:
            wallets.credit(_Someone, -amount)
        except NotEnoughMoney:
            assert Balance.objects.get(kind="wallet").available < amount

    @rule(amount=AMOUNTS)
    def limit(self, amount):
        wallets.set_limit("token", 1, amount)

    @rule()
    def unlimited_for_a_while(self):
        wallets.remove_limit("token", 1)

    @rule(amount=st.one_of(st.none(), st.integers(0, 1500)))
    def budget(self, amount):
        """Set, changed or removed, with requests in flight that name it."""
        set_budgets("user", 1, {"day": amount})
        if amount is not None:
            assert all(limit == amount for limit in Balance.objects.filter(kind="user_day", period__gte=TODAY).values_list("limit", flat=True))

    # --- requests ---

    @rule(who=WHO, amount=AMOUNTS, share=st.integers(0, 100), limited=st.booleans(), day=DAYS, months_ago=st.sampled_from([0, 1, 2, 2]))
    def admit(self, who, amount, share, limited, day, months_ago):
        process = self.processes[who]
        if process.stalled:
            return
        month = month_after(self.this_month, -months_ago)
        if months_ago and ((kept := kept_from()) is None or month >= kept):
            process._writer.offset = start_of(month) + timedelta(days=9) - datetime.now(tz=UTC)  # it has been under way since then
        else:
            process._writer.offset = timedelta(0)
        keys = [TOKEN, WALLET] if limited else [WALLET]
        if day is not None and Budget.objects.exists():
            keys.append(BalanceKey("user_day", 1, day))
        charge = process.finish(process.admit(keys, amount, amount * share // 100))
        if charge is None:
            return
        self.open.append((process, charge))
        reserved = sum(one.reserved for _, one in self.open if not one.cents)
        assert reserved <= self.money() + self.excess, "more was admitted than there is"

    def money(self):
        entries = sum(LedgerEntry.objects.values_list("amount", flat=True))
        kept = kept_from()
        pruned = Checkpoint.objects.filter(kind="channel", month__lt=kept).values_list("charges", flat=True) if kept else []
        return (
            entries
            - sum(pruned)
            - sum(UsageRecord.objects.values_list("amount", flat=True))
            - sum(Hold.objects.filter(balance__kind="wallet").values_list("amount", flat=True))
        )

    @precondition(lambda self: self.open)
    @rule(which=WHICH, percent=st.integers(0, 150))
    def settle(self, which, percent):
        process, charge = self.open.pop(which % len(self.open))
        reserved = charge.reserved
        cost = reserved * percent // 100
        late = charge.book.boot_id != process.boot_id or process._store.boot_id != charge.book.boot_id or self.is_fenced(charge.book.boot_id)
        self.excess += cost if late or charge.cents else max(0, cost - reserved)
        future = process.book(charge, facts(cost))
        self.booked.append(charge.id)
        if process.stalled:
            return
        process.turn()
        assert future.result() is None
        self.delivered.add(charge.id)

    def is_fenced(self, boot_id):
        return Process.objects.filter(boot_id=boot_id, fenced=True).exists()

    @precondition(lambda self: self.open)
    @rule(which=WHICH)
    def release(self, which):
        process, charge = self.open.pop(which % len(self.open))
        process.release(charge)
        if not process.stalled:
            process.turn()

    @precondition(lambda self: self.open)
    @rule(which=WHICH)
    def hold(self, which):
        process, charge = self.open[which % len(self.open)]
        if process.stalled or charge.cents or charge.book.boot_id != process.boot_id or self.is_fenced(charge.book.boot_id):
            return
        self.open.remove((process, charge))
        hold = process.finish(process.hold(charge, "job", datetime(2030, 1, 1, tzinfo=UTC)))
        if hold is not None:
            self.holds.append((hold, charge.balances, charge.reserved))

    @precondition(lambda self: self.holds)
    @rule(who=WHO, which=WHICH, percent=st.integers(0, 150), again=st.booleans())
    def settle_hold(self, who, which, percent, again):
        """Its work is done, and whichever process hears of it books it; some of them twice, some after the deadline."""
        process, (hold, balances, reserved) = self.processes[who], self.holds[which % len(self.holds)]
        if process.stalled:
            return
        cost = reserved * percent // 100
        if not again:
            self.holds.remove((hold, balances, reserved))
        if not UsageRecord.objects.filter(id=hold).exists():
            held = Hold.objects.filter(hold_id=hold, balance__kind="wallet").first()
            self.excess += max(0, cost - (held.amount if held else 0))
        process.finish(process.settle_hold(hold, balances, facts(cost)))
        assert not Hold.objects.filter(hold_id=hold).exists()
        self.booked.append(hold)
        self.delivered.add(hold)

    @precondition(lambda self: self.holds)
    @rule(which=WHICH)
    def expire(self, which):
        hold, _balances, _reserved = self.holds[which % len(self.holds)]
        due = Hold.objects.filter(hold_id=hold)
        if due.update(deadline=datetime(2020, 1, 1, tzinfo=UTC)):
            assert expire_holds() == [hold]
        assert not due.exists()

    # --- months ---

    @rule()
    def close_month(self):
        """The oldest of the two past ones that is open; requests of it may still be under way."""
        last = ClosedMonth.objects.order_by("-month").first()
        month = month_after(last.month) if last else month_after(self.this_month, -2)
        if month < self.this_month:
            try:
                assert close_ended(month)[1]
            except MonthError:  # no charge is that old: the months begin later
                assert not UsageRecord.objects.filter(at__lt=start_of(month_after(month))).exists()
        self.audits_agree()

    @precondition(lambda self: ClosedMonth.objects.filter(pruned_at__isnull=True).exists())
    @rule()
    def prune_month(self):
        """Not while a hold reaches into it; and what is under way for so long would be refused afterwards, so the story waits for it."""
        closed = ClosedMonth.objects.filter(pruned_at__isnull=True).order_by("month")[0]
        end = start_of(month_after(closed.month))
        unbooked = set(self.booked) - set(UsageRecord.objects.filter(id__in=self.booked).values_list("id", flat=True)) - set(self.gone)
        if unbooked or any(charge.at < end for _, charge in self.open) or any(time_of(hold) < end for hold, _, _ in self.holds):
            return
        archive(closed.month)
        old = list(UsageRecord.objects.filter(at__lt=end).values_list("id", flat=True))
        try:
            prune(closed.month)
        except MonthError:
            assert Hold.objects.exists() or end + timedelta(days=3) > datetime.now(tz=UTC)
            return
        self.gone += old
        self.delivered -= set(old)
        self.audits_agree()

    def audits_agree(self):
        """From checkpoints, and from all rows that there are."""
        short, full = audit(), audit(full=True)
        assert (short.differences, full.differences) == ([], [])
        assert (short.charges, short.charged_nanodollars) == (full.charges, full.charged_nanodollars)

    @precondition(lambda self: self.gone)
    @rule(who=WHO, which=WHICH)
    def replay_of_a_pruned_month(self, who, which):
        process, charge = self.processes[who], self.gone[which % len(self.gone)]
        if process.stalled:
            return
        with pytest.raises(TooOld):
            type(process._store).settle(process._store, [Booking(charge, time_of(charge), process._store.boot_id, (), facts(5))])

    @rule()
    def fold(self):
        fold_counters()

    # --- machines ---

    @rule(who=WHO)
    def beat(self, who):
        if not self.processes[who].stalled:
            self.processes[who].beat()

    @rule(who=WHO)
    def idle(self, who):
        process = self.processes[who]
        if not process.stalled:
            process._book.sweep()
            process.turn()

    @rule(who=WHO, plan=st.sampled_from(["lost before", "lost after"]))
    def commit_unknown(self, who, plan):
        if not self.processes[who].stalled:
            self.processes[who].flaky.plan = plan

    @precondition(lambda self: self.open)
    @rule(which=WHICH, dies=st.booleans())
    def journaled(self, which, dies):
        """The database does not answer: the charge goes to disk, and the client has its end."""
        process, charge = self.open.pop(which % len(self.open))
        if process.stalled:
            self.open.append((process, charge))
            return
        self.excess += charge.reserved if charge.cents or charge.book.boot_id != process.boot_id or self.is_fenced(charge.book.boot_id) else 0
        future = process.book(charge, facts(charge.reserved))
        self.booked.append(charge.id)
        self.loop.run_until_complete(process._unconfirmed.look(0.0))
        assert future.done()
        self.delivered.add(charge.id)
        if dies:
            self.crash(self.processes.index(process))
        else:
            process.turn()

    @rule(who=WHO)
    def crash(self, who):
        process = self.processes[who]
        process.die()
        self.open = [(owner, charge) for owner, charge in self.open if owner is not process]
        self.processes[who] = Virtual(self.config_now, self.loop)
        self.processes[who].turn()

    @rule(who=WHO)
    def stall(self, who):
        """It stops for so long that another fences it."""
        process = self.processes[who]
        if process.stalled:
            return
        process.turn()
        process.stalled = True
        other = self.processes[(who + 1) % 3]
        if not other.stalled:
            assert other._store.reap(process._store.boot_id)
            self.excess += sum(charge.reserved for owner, charge in self.open if owner is process)

    @rule(who=WHO)
    def wake(self, who):
        process = self.processes[who]
        if process.stalled:
            process.stalled = False
            process.beat()
            self.loop.run_until_complete(process._unconfirmed.look(0.0))
            self.delivered.update(charge for charge in self.booked if UsageRecord.objects.filter(id=charge).exists())

    @precondition(lambda self: self.booked)
    @rule(who=WHO, which=WHICH)
    def replay(self, who, which):
        """A charge that the database has comes again."""
        record = UsageRecord.objects.filter(id=self.booked[which % len(self.booked)]).first()
        process = self.processes[who]
        if record is not None and not process.stalled:
            again = Booking(record.id, record.at, record.boot_id, tuple(record.balances), facts(record.amount))
            assert type(process._store).settle(process._store, [again]) == 0

    # --- what always holds ---

    @invariant()
    def the_equation_holds(self):
        if hasattr(self, "processes"):
            assert differences() == []

    @invariant()
    def memory_and_database_agree(self):
        """For every slice, with no operation under way: lease = free + reserved + unsettled + returning."""
        for process in getattr(self, "processes", ()):
            if process._writer._resync_due:  # a move whose outcome is unknown: the next beat sets the memory anew
                continue
            if process.stalled or process._store.boot_id != process.boot_id or self.is_fenced(process.boot_id):
                continue
            rows = process._store.leases()
            for part in process._book._slices.values():
                assert rows.pop(part.balance_id, 0) == part.free + part.reserved + part.unsettled + part.returning, part.key
            assert not any(rows.values()), "a lease that nobody in the process knows"

    def teardown(self):
        if not hasattr(self, "processes"):
            return
        for process in self.processes:
            process.die()
        last = Virtual(self.config_now, self.loop)
        last.turn()
        for boot_id, _slot, _host, _beat in last._store.living():  # of stalled processes whose rows nobody could reap
            if boot_id != last.boot_id:
                last._store.reap(boot_id)
        last._store.reap(last.boot_id)
        last.die()
        self.loop.close()
        assert not Lease.objects.exists()
        assert set(UsageRecord.objects.values_list("id", flat=True)) >= self.delivered
        report = audit()
        assert report.ok, report.differences


class _Someone:
    pk = 1


@pytest.mark.timeout(0 if "MODEL_SEED" in os.environ else 180)
def test_any_story_keeps_the_books(ledger_config, monkeypatch):
    monkeypatch.setattr(django_settings, "DATA_DIR", ledger_config.data_dir)
    monkeypatch.setattr(leases, "RECALL_WAIT", 0.0)
    monkeypatch.setattr(leases, "RECALL_STEP", 0.0)
    monkeypatch.setattr(leases, "REFUSAL_REMEMBERED", 0.0)
    monkeypatch.setattr(wallets, "RECALL_PATIENCE", -1.0)
    Stories.config = ledger_config
    again = os.environ.get("MODEL_SEED")
    phases = [Phase.generate, Phase.shrink] if again else [Phase.generate]
    first = int(again or random.randrange(2**32))
    until = time.monotonic() + float(os.environ.get("MODEL_SECONDS", "30"))
    plan = settings(max_examples=4, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=phases)
    for number in itertools.count(first):
        print(f"MODEL_SEED={number}", flush=True)
        run_state_machine_as_test(seed(number)(Stories), settings=plan)
        if time.monotonic() > until:
            return
