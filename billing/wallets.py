"""What people do to balances: credits and debits of wallets, limits of tokens. Requests spend through billing/ledger instead.

Every change of `available` is relative and stands in one transaction with the row that explains it: an entry for a wallet, the limit for a
token. Nothing here reads an amount and writes it back, so that a request that settles meanwhile cannot be lost.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from django.db import IntegrityError, connection, transaction
from django.db.models import BigIntegerField, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _

from billing.ledger.statements import RECALL_CHANNEL
from billing.locks import lock_balance
from billing.models import Balance, Counter, Hold, Kind, Lease, LedgerEntry, LimitChange
from billing.money import AMOUNT_LIMIT, format_usd

RECALL_PATIENCE = 3.0
"""Seconds in which a debit waits for money that processes have leased: idle leases come back after LEASE_IDLE."""

_RECALL_STEP = 0.25
Booked = TypeVar("Booked")


class Person(Protocol):
    """A user, or whatever else has its id."""

    pk: int


class NotEnoughMoney(ValueError):
    """A debit of more than the wallet holds; its text is a sentence for people."""


@dataclass(frozen=True, slots=True)
class Figures:
    """A balance at one moment, in nano-dollars. `limit` is None for a wallet; `used` and `requests` are its owner's since ever."""

    available: int = 0
    leased: int = 0
    held: int = 0
    limit: int | None = None
    used: int = 0
    requests: int = 0

    @property
    def remaining(self) -> int:
        """What can still be spent: also what processes have set aside and have not used yet."""
        return self.available + self.leased + self.held


def wallet_of(user_id: int) -> Balance:
    """The wallet of a user; made, empty, where there is none yet."""
    return Balance.objects.get_or_create(kind=Kind.WALLET, subject=user_id, period="")[0]


def figures(kind: str, subject: int, period: str = "") -> Figures:
    """The figures of a balance; all zero where there is none. One statement reads money and leases, so that no move between them is
    counted twice.
    """
    leases, holds = Lease.objects.filter(balance=OuterRef("pk")), Hold.objects.filter(balance=OuterRef("pk"))
    row = (
        Balance.objects.filter(kind=kind, subject=subject, period=period)
        .annotate(leased=_total(leases, "remaining"), held=_total(holds, "amount"))
        .values_list("available", "leased", "held", "limit")
        .first()
    )
    owner = "user" if kind == Kind.WALLET or kind.startswith("user_") else "token"
    used = Counter.objects.filter(kind=owner, subject=subject).aggregate(amount=Sum("amount"), requests=Sum("requests"))
    available, leased, held, limit = row or (0, 0, 0, None)
    return Figures(available, leased, held, limit, used["amount"] or 0, used["requests"] or 0)


def balance_of(user: Person) -> int:
    """What a user's wallet still holds, in nano-dollars."""
    return figures(Kind.WALLET, user.pk).remaining


def credit(
    user: Person,
    amount_nano: int,
    author: Person | None = None,
    reason: str = "",
    idempotency_key: str | None = None,
    act: str = LedgerEntry.Act.TOP_UP,
) -> LedgerEntry:
    """Puts money into a user's wallet, or with a negative amount takes it out, and writes the entry that says who did it and why.

    The same idempotency key does nothing a second time and gives back the first entry; ValueError where that one says something else. A
    debit of more than is there is refused (NotEnoughMoney, a ValueError); one of money that processes have leased waits for it for a
    moment. `repeated` of the entry says whether it was there before.
    """
    if amount_nano == 0 or abs(amount_nano) > AMOUNT_LIMIT:
        raise ValueError(_("The amount must not be zero, and at most 1,000,000 US dollars."))
    wallet = wallet_of(user.pk)
    entry = LedgerEntry(
        balance=wallet,
        act=act,
        amount=amount_nano,
        author_id=author.pk if author else None,
        reason=plain(reason)[:255],
        idempotency_key=idempotency_key or None,
    )
    return patiently(lambda: _booked(entry), wallet, -amount_nano)


def make_limit(kind: str, subject: int, limit_nano: int, period: str = "") -> Balance:
    """Gives a token (or budget) its limit at its creation; sets what remains where it has had one before. ValueError out of range."""
    _check_limit(kind, limit_nano)
    balance, created = Balance.objects.get_or_create(
        kind=kind, subject=subject, period=period, defaults={"available": limit_nano, "limit": limit_nano}
    )
    return balance if created else _moved(kind, subject, limit_nano, period)


def set_limit(
    kind: str,
    subject: int,
    wanted_remaining: int | None,
    period: str = "",
    author: Person | None = None,
    reason: str = "",
) -> Balance | None:
    """An absolute edit of what remains of a limit; None makes the token unlimited. ValueError for a wallet, or out of range.

    The limit moves by the difference between what is wanted and what remains under the row's lock, and `available` moves with it, so that
    limit - charges stays what is there; a LimitChange says by whom. The requests in flight keep what they have reserved.
    """
    if wanted_remaining is None:
        remove_limit(kind, subject, period)
        return None
    _check_limit(kind, wanted_remaining)
    if not Balance.objects.filter(kind=kind, subject=subject, period=period).exists():
        return make_limit(kind, subject, wanted_remaining, period)
    return _moved(kind, subject, wanted_remaining, period, author, reason)


def remove_limit(kind: str, subject: int, period: str = "") -> None:
    """The token spends without a limit from now on: that its row says so decides. The balance stays, as charges name it; its leases are
    recalled."""
    for balance in Balance.objects.filter(kind=kind, subject=subject, period=period).exclude(kind=Kind.WALLET):
        recall(balance.pk)


def _total(rows: QuerySet[Any], column: str) -> Coalesce:
    """The sum of a column over the rows of a balance, as a subquery; 0 where there are none."""
    sums = rows.order_by().values("balance").annotate(total=Sum(column)).values("total")
    return Coalesce(Subquery(sums), 0, output_field=BigIntegerField())


def remaining_in(balance: Balance) -> int:
    """What a balance that is locked still holds, leases and holds included, in nano-dollars."""
    leased = Lease.objects.filter(balance=balance).aggregate(total=Sum("remaining"))["total"] or 0
    held = Hold.objects.filter(balance=balance).aggregate(total=Sum("amount"))["total"] or 0
    return int(balance.available + leased + held)


def _moved(kind: str, subject: int, wanted: int, period: str, author: Person | None = None, reason: str = "") -> Balance:
    with transaction.atomic():
        balance = lock_balance(kind, subject, period)
        difference = wanted - remaining_in(balance)
        if difference == 0:
            return balance
        move_limit(balance, difference, author, reason)
        balance.refresh_from_db()
        return balance


def move_limit(balance: Balance, difference: int, author: Person | None, reason: str) -> None:
    """Moves the limit of a balance that is locked, what is available with it, and says by whom. Processes give back what they have leased: of
    more, one that has just refused looks again."""
    Balance.objects.filter(pk=balance.pk).update(limit=F("limit") + difference, available=F("available") + difference)
    recall(balance.pk)
    LimitChange.objects.create(
        balance=balance,
        act=LimitChange.Act.EDIT,
        amount=difference,
        author_id=author.pk if author else None,
        reason=plain(reason)[:255],
    )


def _check_limit(kind: str, amount: int) -> None:
    if kind == Kind.WALLET:
        raise ValueError("A wallet has no limit: credit it.")
    if not 0 <= amount <= AMOUNT_LIMIT:
        raise ValueError(_("A limit lies between 0 and 1,000,000 US dollars."))


def _booked(entry: LedgerEntry) -> LedgerEntry:
    """The entry and the money in one transaction; the first entry of that key where there is one."""
    known = _known(entry)
    if known is not None:
        return known
    wallet = Balance.objects.filter(pk=entry.balance_id)
    try:
        with transaction.atomic():
            entry.save(force_insert=True)
            if entry.amount > 0:
                wallet.update(available=F("available") + entry.amount)
            elif wallet.filter(available__gte=-entry.amount).update(available=F("available") + entry.amount):
                recall(entry.balance_id)
            else:
                raise NotEnoughMoney(_("The wallet holds less than %(amount)s US dollars.") % {"amount": format_usd(-entry.amount)})
    except IntegrityError:
        entry.pk = None
        known = _known(entry)
        if known is None:
            raise
        return known
    except NotEnoughMoney:
        entry.pk = None
        raise
    return entry


def _known(entry: LedgerEntry) -> LedgerEntry | None:
    """The entry that has this one's key already. ValueError where it is another act."""
    if entry.idempotency_key is None:
        return None
    known = LedgerEntry.objects.filter(idempotency_key=entry.idempotency_key).first()
    if known is not None and (known.balance_id, known.amount, known.act) != (entry.balance_id, entry.amount, entry.act):
        raise ValueError(_("This idempotency key belongs to another entry."))
    if known is not None:
        known.repeated = True
    return known


def patiently(book: Callable[[], Booked], balance: Balance, needed: int) -> Booked:
    """Does `book()`; where it raises NotEnoughMoney and only lacks what processes have leased (of `needed` nano-dollars of the balance), recalls
    that and tries again for a moment. Inside somebody's transaction it does not wait.
    """
    give_up = time.monotonic() + RECALL_PATIENCE
    while True:
        try:
            return book()
        except NotEnoughMoney:
            leased = Lease.objects.filter(balance=balance).aggregate(total=Sum("remaining"))["total"] or 0
            available = Balance.objects.values_list("available", flat=True).get(pk=balance.pk)
            if connection.in_atomic_block or available + leased < needed or time.monotonic() > give_up:
                raise
            recall(balance.pk)
            time.sleep(_RECALL_STEP)


def recall(balance_id: int) -> None:
    """Calls back what processes have leased of a balance: at once where they listen (PostgreSQL), else at their next beat."""
    Balance.objects.filter(pk=balance_id).update(recall_at=Now())
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [RECALL_CHANNEL, str(balance_id)])


def plain(text: str) -> str:
    """Text without NUL and other control characters, which PostgreSQL or a log would choke on."""
    return "".join(character if character.isprintable() else " " for character in text).strip()
