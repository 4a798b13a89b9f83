"""Money that was set aside for work, and whose work brought no result in time (docs/ledger.md §5).

Expiry gives it back and writes no usage. A result that comes later is charged all the same, from what is available then.
"""

import uuid

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from billing.ledger.statements import HOLD_DROP
from billing.locks import lock_balances
from billing.models import Balance, Hold

AT_ONCE = 500
"""Holds that one call gives back at most; each is a transaction of its own."""


def expire_holds() -> list[uuid.UUID]:
    """Gives back the holds whose deadline has passed by the database's clock; gives back their ids."""
    due = Hold.objects.filter(deadline__lt=Now()).order_by("hold_id").values_list("hold_id", flat=True).distinct()[:AT_ONCE]
    return [hold_id for hold_id in list(due) if _expire(hold_id)]


def _expire(hold_id: uuid.UUID) -> bool:
    """False where it was settled meanwhile: what is given back is what the DELETE found, never what was read before."""
    with transaction.atomic():
        lock_balances(Hold.objects.filter(hold_id=hold_id).values_list("balance__kind", "balance__subject", "balance__period"))
        with connection.cursor() as cursor:
            key = hold_id if connection.vendor == "postgresql" else hold_id.hex
            cursor.execute(HOLD_DROP.replace("?", "%s"), [key])
            held = cursor.fetchall()
        for balance, amount in held:
            Balance.objects.filter(pk=balance).update(available=F("available") + amount)
    return bool(held)
