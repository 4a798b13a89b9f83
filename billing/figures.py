"""What is left and what was used, as annotations for lists: the sums of docs/ledger.md §1 without a query a row."""

from typing import Any, TypeVar

from django.db.models import BigIntegerField, F, Model, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from billing.models import Balance, Counter, Hold, Kind, Lease

Row = TypeVar("Row", bound=Model)
COUNTED = {Kind.WALLET: "user", Kind.TOKEN: "token"}


def with_figures(rows: QuerySet[Row], kind: Kind) -> QuerySet[Row]:
    """Annotates `remaining` (available + leases + holds of the wallet or limit) and `used`, both in nano-dollars.

    `rows` are the subjects: users for wallets, tokens for limits. What is leased to a process still counts as left.
    """
    own: dict[str, Any] = {"kind": kind, "subject": OuterRef("pk"), "period": ""}
    through = {f"balance__{name}": value for name, value in own.items()}
    figured: QuerySet[Row] = rows.annotate(
        in_balance=_sum(Balance.objects.filter(**own), "subject", "available"),
        in_leases=_sum(Lease.objects.filter(**through), "balance__subject", "remaining"),
        in_holds=_sum(Hold.objects.filter(**through), "balance__subject", "amount"),
        used=_sum(Counter.objects.filter(kind=COUNTED[kind], subject=OuterRef("pk")), "subject", "amount"),
    ).annotate(remaining=F("in_balance") + F("in_leases") + F("in_holds"))
    return figured


def _sum(rows: QuerySet[Any], key: str, column: str) -> Coalesce:
    total = rows.order_by().values(key).annotate(total=Sum(column)).values("total")[:1]
    return Coalesce(Subquery(total, output_field=BigIntegerField()), Value(0, output_field=BigIntegerField()))
