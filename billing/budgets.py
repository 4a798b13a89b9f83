"""What people do to budgets: what a user or a token may spend in a day, a week or a month, from the next request on.

A budget is a row of what every period may cost; each period has a balance of its own, which the first request in it makes (docs/ledger.md §1).
An edit locks that row first, so that no balance is made of the old figure meanwhile, then moves the balances of the period under way by the
difference: what was spent of it stays spent.
"""

import datetime
from collections.abc import Mapping
from typing import NamedTuple

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from billing.clock import database_time
from billing.models import BUDGET_KINDS, Balance, Budget
from billing.money import AMOUNT_LIMIT
from billing.periods import PERIODS, Calendar, period_of
from billing.wallets import Person, figures, move_limit, recall


class Standing(NamedTuple):
    """One budget in the period under way: amounts in nano-dollars, `ends` is when it begins anew."""

    period: str
    limit: int
    remaining: int
    first: datetime.date
    ends: datetime.datetime

    @property
    def used(self) -> int:
        """What was charged to it."""
        return self.limit - self.remaining


def kind_of(owner: str, period: str) -> str:
    """The kind of the balances of a budget: `user_day` and so on. ValueError for anything else."""
    kind = f"{owner}_{period}"
    if kind not in BUDGET_KINDS:
        raise ValueError(f"There is no budget {kind}.")
    return kind


def standings(owner: str, subject: int) -> list[Standing]:
    """The budgets of a user or token, the shortest first. Before the first request of a period all of it is left."""
    limits = dict(Budget.objects.filter(kind__in=[kind_of(owner, period) for period in PERIODS], subject=subject).values_list("kind", "limit"))
    if not limits:
        return []
    found = []
    for period, running in calendar().running(database_time()).items():
        kind = kind_of(owner, period)
        if kind in limits:
            there = figures(kind, subject, running.first)
            limit, remaining = (limits[kind], limits[kind]) if there.limit is None else (there.limit, there.remaining)
            ends = datetime.datetime.fromtimestamp(running.ends, timezone.get_default_timezone())
            found.append(Standing(period, limit, remaining, datetime.date.fromisoformat(running.first), ends))
    return found


def set_budgets(owner: str, subject: int, wanted: Mapping[str, int | None], author: Person | None = None, reason: str = "") -> list[str]:
    """Sets what each period named may cost, in nano-dollars; None removes that budget. Gives back the periods that changed.

    The period under way has the new figure at once. Of a budget that is new, or was removed and comes back, what was spent without it does
    not count. ValueError out of range.
    """
    for limit in wanted.values():
        if limit is not None and not 0 <= limit <= AMOUNT_LIMIT:
            raise ValueError(_("A limit lies between 0 and 1,000,000 US dollars."))
    with transaction.atomic():
        # Always in this order: two who edit several budgets wait for each other, and never crosswise.
        return [period for period in PERIODS if period in wanted and _set(kind_of(owner, period), subject, wanted[period], author, reason)]


def _set(kind: str, subject: int, limit: int | None, author: Person | None, reason: str) -> bool:
    budget = Budget.objects.select_for_update(no_key=True).filter(kind=kind, subject=subject).first()
    if limit is None:
        if budget is None:
            return False
        budget.delete()
        for balance in _under_way(kind, subject):
            recall(balance.pk)
        return True
    if budget is not None and budget.limit == limit:
        return False
    Budget.objects.update_or_create(kind=kind, subject=subject, defaults={"limit": limit})
    for balance in _under_way(kind, subject):
        if (difference := limit - (balance.limit or 0)) != 0:
            move_limit(balance, difference, author, reason)
    return True


def _under_way(kind: str, subject: int) -> list[Balance]:
    """The balances of the period that it is now, locked; and those of a later one, where a relay's clock is ahead."""
    first = calendar().running(database_time())[period_of(kind)].first
    found = Balance.objects.select_for_update(no_key=True).filter(kind=kind, subject=subject, period__gte=first)
    return list(found.order_by("period"))


def calendar() -> Calendar:
    """The periods by TIME_ZONE."""
    return Calendar(timezone.get_default_timezone())
