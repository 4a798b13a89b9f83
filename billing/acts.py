"""Acts on money beside credits and debits (billing/wallets.py): refund of a charge, write-off, transfer of a limit.

Each is one transaction with the row that explains it, has an author and a reason, and is done once a reference: a repeated one gives back
the first row, marked `repeated`. Locks are taken in the order of docs/ledger.md §6.
"""

import datetime
import uuid
from collections.abc import Callable
from typing import TypeVar

from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.translation import gettext as _

from billing.ledger.records import month_of, time_of
from billing.locks import lock_balance, lock_balances
from billing.models import Balance, ClosedMonth, Kind, LedgerEntry, LimitChange, UsageRecord
from billing.money import AMOUNT_LIMIT, format_usd
from billing.months import kept_from, start_of
from billing.wallets import NotEnoughMoney, Person, patiently, plain, recall, remaining_in, wallet_of

REFERENCE_LIMIT = 128
REASON_LIMIT = 255
RESERVED = "redeem:"
"""Begins the keys of redeemed codes, by which the audit finds their entries."""

Row = TypeVar("Row", LedgerEntry, LimitChange)


def checked_reference(text: str) -> str:
    """The reference of an act as it is kept. ValueError where it is empty, too long, not printable, or one of ours."""
    reference = text.strip()
    if not 1 <= len(reference) <= REFERENCE_LIMIT or not reference.isprintable():
        raise ValueError(_("A reference has between 1 and %(most)d printable characters.") % {"most": REFERENCE_LIMIT})
    if reference.startswith(RESERVED):
        raise ValueError(_("References that begin with “%(start)s” belong to redeem codes.") % {"start": RESERVED})
    return reference


def refund(charge_id: uuid.UUID, amount_nano: int | None, *, author: Person | None, reason: str, reference: str) -> LedgerEntry:
    """Gives a charge, or `amount_nano` of it, back to the wallet that it names; None: all that was not given back yet.

    The token's limit keeps the charge as used (docs/ledger.md §5). ValueError (its text is a sentence): no such charge, one that named no
    wallet, an amount above what is left of it, or a reference of another act.
    """
    reference = checked_reference(reference)
    record = UsageRecord.objects.with_id(charge_id).only("id", "at", "balances").first()
    if record is None:
        raise ValueError(_gone() if _pruned(charge_id) else _("There is no charge with this id."))
    wallet = wallet_charged(record)
    if wallet is None:
        raise ValueError(
            _("This request was charged to no wallet, so that there is none to give it back to: its user was unlimited, or it was a test.")
        )
    if amount_nano is not None and not 1 <= amount_nano <= AMOUNT_LIMIT:
        raise ValueError(_("The amount must be more than nothing, and at most 1,000,000 US dollars."))

    def known(entry: LedgerEntry) -> bool:
        same = (entry.act, entry.charge, entry.balance_id) == (LedgerEntry.Act.REFUND, record.pk, wallet.pk)
        return same and amount_nano in (None, entry.amount)

    def book() -> LedgerEntry:
        with transaction.atomic():
            charge = UsageRecord.objects.select_for_update(no_key=True).only("id", "amount", "refunded").get(pk=record.pk, at=record.at)
            left = charge.amount - charge.refunded
            amount = left if amount_nano is None else amount_nano
            if left <= 0:
                raise ValueError(_("Nothing of this charge is left to give back."))
            entry = _entry(wallet, LedgerEntry.Act.REFUND, amount, author, reason, reference, charge=record.pk)
            rows = UsageRecord.objects.filter(pk=record.pk, at=record.at, refunded__lte=F("amount") - amount)
            if not rows.update(refunded=F("refunded") + amount):
                raise ValueError(_("Of this charge only %(amount)s US dollars are left to give back.") % {"amount": format_usd(left)})
            _tell_closed_month(record.at)
            Balance.objects.filter(pk=wallet.pk).update(available=F("available") + amount)
            return entry

    return _once(LedgerEntry, "idempotency_key", reference, known, book)


def _tell_closed_month(at: datetime.datetime) -> None:
    """After the row was changed, for closing and pruning wait for that: a refund of a closed month makes its archive incomplete, and one of a
    pruned month is refused (ValueError)."""
    closed = ClosedMonth.objects.filter(month__gte=month_of(at)).order_by("month").first()
    if closed is None:
        return
    if closed.pruned_at is not None:
        raise ValueError(_gone())
    ClosedMonth.objects.filter(pk=closed.pk).update(changes=F("changes") + 1)


def _pruned(charge_id: uuid.UUID) -> bool:
    """Whether a charge of this id, had there been one, is gone with its month."""
    kept = kept_from()
    return kept is not None and charge_id.version == 7 and time_of(charge_id) < start_of(kept)


def _gone() -> str:
    return _("The month of this charge was archived and its rows were removed: it cannot be refunded any more. A credit can make up for it.")


def wallet_charged(record: UsageRecord) -> Balance | None:
    """The wallet that a charge names; None where it names none."""
    return Balance.objects.filter(pk__in=record.balances, kind=Kind.WALLET).first()


def write_off(user: Person, *, author: Person | None, reason: str, reference: str) -> LedgerEntry:
    """Forgives what a wallet lacks: an entry that brings it from below zero to zero, computed under the row's lock.

    ValueError (its text is a sentence): the wallet is not below zero, or the reference is another act's.
    """
    reference = checked_reference(reference)
    wallet = wallet_of(user.pk)

    def book() -> LedgerEntry:
        with transaction.atomic():
            # Settles of leased money need no lock of the balance: they can only take more meanwhile, so that this is at most what is missing.
            missing = -remaining_in(lock_balance(wallet.kind, wallet.subject))
            if missing <= 0:
                raise ValueError(_("This wallet is not below zero: there is nothing to write off."))
            amount = min(missing, AMOUNT_LIMIT)
            entry = _entry(wallet, LedgerEntry.Act.WRITE_OFF, amount, author, reason, reference)
            Balance.objects.filter(pk=wallet.pk).update(available=F("available") + amount)
            return entry

    return _once(
        LedgerEntry, "idempotency_key", reference, lambda entry: (entry.act, entry.balance_id) == (LedgerEntry.Act.WRITE_OFF, wallet.pk), book
    )


def transfer_limit(source: int, target: int, amount_nano: int, *, author: Person | None, reason: str, reference: str) -> LimitChange:
    """Moves a part of what remains of one token's limit to another's (ids of tokens; whose they are is the caller's business).

    `limit` and `available` move together, never more than is free: money that processes have leased is recalled and waited for, as a debit
    does. ValueError (its text is a sentence; NotEnoughMoney where the source holds less): one token twice, no limit, a bad amount, or a
    reference of another act.
    """
    reference = checked_reference(reference)
    if source == target:
        raise ValueError(_("A limit is moved between two different tokens."))
    if not 1 <= amount_nano <= AMOUNT_LIMIT:
        raise ValueError(_("The amount must be more than nothing, and at most 1,000,000 US dollars."))
    rows = {row.subject: row for row in Balance.objects.filter(kind=Kind.TOKEN, subject__in=(source, target), period="")}
    if len(rows) < 2:
        raise ValueError(_("Both tokens must have a limit."))
    giver, taker = rows[source], rows[target]

    def known(change: LimitChange) -> bool:
        wanted = (LimitChange.Act.TRANSFER, giver.pk, taker.pk, amount_nano)
        return (change.act, change.taken_from_id, change.balance_id, change.amount) == wanted

    def move() -> LimitChange:
        with transaction.atomic():
            lock_balances((row.kind, row.subject, row.period) for row in (giver, taker))
            change = LimitChange(
                balance=taker,
                taken_from=giver,
                act=LimitChange.Act.TRANSFER,
                amount=amount_nano,
                author_id=author.pk if author else None,
                reason=plain(reason)[:REASON_LIMIT],
                reference=reference,
            )
            change.save(force_insert=True)
            free = Balance.objects.filter(pk=giver.pk, available__gte=amount_nano)
            if not free.update(available=F("available") - amount_nano, limit=F("limit") - amount_nano):
                raise NotEnoughMoney(_("Less than %(amount)s US dollars of this token's limit are free.") % {"amount": format_usd(amount_nano)})
            recall(giver.pk)
            Balance.objects.filter(pk=taker.pk).update(available=F("available") + amount_nano, limit=F("limit") + amount_nano)
            return change

    return patiently(lambda: _once(LimitChange, "reference", reference, known, move), giver, amount_nano)


def _entry(
    wallet: Balance, act: str, amount: int, author: Person | None, reason: str, reference: str, charge: uuid.UUID | None = None
) -> LedgerEntry:
    entry = LedgerEntry(
        balance=wallet,
        act=act,
        amount=amount,
        author_id=author.pk if author else None,
        reason=plain(reason)[:REASON_LIMIT],
        idempotency_key=reference,
        charge=charge,
    )
    entry.save(force_insert=True)
    return entry


def _once(model: type[Row], column: str, reference: str, known: Callable[[Row], bool], act: Callable[[], Row]) -> Row:
    """`act()`, or the row that has the reference already; ValueError where that one is another act, or what `act` raises."""

    def found() -> Row | None:
        row = model._default_manager.filter(**{column: reference}).first()
        if row is None:
            return None
        if not known(row):
            raise ValueError(_("This reference belongs to another act."))
        row.repeated = True
        return row

    first = found()
    if first is not None:
        return first
    try:
        return act()
    except (IntegrityError, ValueError):
        # Somebody else may have done the same act meanwhile; then the second sees his row, or that nothing is left.
        first = found()
        if first is None:
            raise
        return first
