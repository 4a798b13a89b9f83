"""Redeem codes: minted in batches, sold as text, and turned into money exactly once.

What decides is one conditional UPDATE: of a hundred who post the same code at once, one finds `redeemed_by` empty, and only his transaction
credits. The code is found by its SHA-256; wrong guesses are counted by user and by address.

    RedeemError
        TooManyGuesses   wait: `retry_after` seconds
        UserBanned
        UnknownCode
        AlreadyUsed      `at` says when
        CodeDisabled
        CodeExpired
"""

import datetime
import hashlib
import re
import secrets
import string
from collections.abc import Iterable, Iterator

from django.contrib.auth import get_user_model
from django.core.cache import cache
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from billing.models import LedgerEntry, RedeemCode
from billing.money import AMOUNT_LIMIT
from billing.wallets import Person, credit

LENGTH = 32
ALPHABET = string.ascii_lowercase + string.digits
MOST_AT_ONCE = 100_000
CHUNK = 500
"""Codes inserted by one statement: on SQLite nobody holds the write lock for longer than some 50 ms."""

WINDOW = 600
"""Seconds in which wrong guesses are counted, from the first one on."""

GUESSES_OF_USER = 10
GUESSES_OF_ADDRESS = 30
"""More than a user's: people behind one address share it."""

# What a copied text may bring along: spaces, dashes, zero-width characters and the byte order mark.
_DECORATION = re.compile("[\\s\\-\u200b-\u200d\u2060\ufeff]+")


class RedeemError(Exception):
    """Why a code was not redeemed; its text is a sentence for its user."""


class TooManyGuesses(RedeemError):
    """Wait `retry_after` seconds."""

    def __init__(self, retry_after: int = WINDOW) -> None:
        super().__init__(_("Too many wrong codes. Try again in ten minutes."))
        self.retry_after = retry_after


class UserBanned(RedeemError):
    def __init__(self) -> None:
        super().__init__(_("This account is disabled."))


class UnknownCode(RedeemError):
    def __init__(self) -> None:
        super().__init__(_("There is no such code. Check that all of it was copied."))


class AlreadyUsed(RedeemError):
    """The code was redeemed, at `at`."""

    def __init__(self, at: datetime.datetime) -> None:
        when = date_format(timezone.localtime(at), "DATETIME_FORMAT")
        super().__init__(_("This code was already used on %(time)s.") % {"time": when})
        self.at = at


class CodeDisabled(RedeemError):
    def __init__(self) -> None:
        super().__init__(_("This code is disabled."))


class CodeExpired(RedeemError):
    def __init__(self) -> None:
        super().__init__(_("This code has expired."))


def mint(
    count: int,
    amount_nano: int,
    *,
    author: Person | None = None,
    batch: str = "",
    expires_at: datetime.datetime | None = None,
) -> list[str]:
    """Makes that many codes, each worth `amount_nano`, and gives back their texts: 32 lower-case letters and digits. ValueError out of
    range."""
    if not 1 <= count <= MOST_AT_ONCE:
        raise ValueError(_("Between 1 and %(most)d codes can be minted at once.") % {"most": MOST_AT_ONCE})
    if not 1 <= amount_nano <= AMOUNT_LIMIT:
        raise ValueError(_("A code is worth more than nothing, and at most 1,000,000 US dollars."))
    codes = ["".join(secrets.choice(ALPHABET) for _character in range(LENGTH)) for _number in range(count)]
    for start in range(0, count, CHUNK):
        RedeemCode.objects.bulk_create(
            RedeemCode(
                batch=batch[:64],
                code=code,
                code_hash=_digest(code),
                hint=code[-4:],
                amount=amount_nano,
                expires_at=expires_at,
                created_by_id=author.pk if author else None,
            )
            for code in codes[start : start + CHUNK]
        )
    return codes


def text_lines(codes: Iterable[RedeemCode]) -> Iterator[str]:
    """Codes as a card shop takes them, one a line."""
    for code in codes:
        yield f"{code.code}\n"


def codes_in(text: str) -> list[str]:
    """The codes in a text of one or several, one a line or apart by commas: each once, in their order."""
    return list(dict.fromkeys(part for part in (cleaned(piece) for piece in re.split(r"[\n\r,;，；]+", text)) if part))


def cleaned(text: str) -> str:
    """A code without what copying or typing may have added to it."""
    return _DECORATION.sub("", text).lower()


def redeem(user: Person, text: str, *, address: str = "") -> LedgerEntry:
    """Credits the user's wallet with the code's amount; the entry says how much. A RedeemError where it does not.

    `address` is the client's, for the limit on guesses; empty where there is none (a command).
    """
    guesses = _Guesses(user.pk, address)
    guesses.check()
    now = timezone.now()
    with transaction.atomic():
        if not get_user_model().objects.filter(pk=user.pk, is_active=True).exists():
            raise UserBanned
        code = RedeemCode.objects.filter(code_hash=_digest(cleaned(text))).defer("code").first()
        if code is not None:
            free = RedeemCode.objects.filter(Q(expires_at=None) | Q(expires_at__gt=now), pk=code.pk, redeemed_by=None, enabled=True)
            if free.update(redeemed_by=user.pk, redeemed_at=now):
                return credit(user, code.amount, user, f"…{code.hint}", f"redeem:{code.pk}", LedgerEntry.Act.REDEEM)
    if code is None:
        guesses.add()
        raise UnknownCode
    raise _refusal(code.pk)


def _refusal(pk: int) -> RedeemError:
    """Why the conditional UPDATE found nothing, by what the row says now."""
    redeemed_at, enabled = RedeemCode.objects.values_list("redeemed_at", "enabled").get(pk=pk)
    if redeemed_at is not None:
        return AlreadyUsed(redeemed_at)
    return CodeExpired() if enabled else CodeDisabled()


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="replace")).hexdigest()


class _Guesses:
    """The wrong guesses of a user and of an address. Only what named no code counts: a code posted twice is no guess."""

    def __init__(self, user_id: int, address: str) -> None:
        self.limits = {f"redeem-guesses:user:{user_id}": GUESSES_OF_USER}
        if address:
            self.limits[f"redeem-guesses:address:{hashlib.sha256(address.encode()).hexdigest()[:32]}"] = GUESSES_OF_ADDRESS

    def check(self) -> None:
        counts = cache.get_many(list(self.limits))
        if any(counts.get(key, 0) >= limit for key, limit in self.limits.items()):
            raise TooManyGuesses

    def add(self) -> None:
        for key in self.limits:
            if not cache.add(key, 1, WINDOW):
                try:
                    cache.incr(key)
                except ValueError:  # it has just expired
                    cache.add(key, 1, WINDOW)
