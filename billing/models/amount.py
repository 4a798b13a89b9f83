"""Columns that hold money: integers of nano-dollars, checked by the database itself."""

from typing import Any, cast

from django.db import models
from django.db.models import Func

AMOUNT_LIMIT = 10**15  # nano-dollars of a single amount: a million dollars
SUM_LIMIT = 9 * 10**18  # of a sum: below 2**63


def money_checks(model: str, *, amounts: tuple[str, ...] = (), sums: tuple[str, ...] = ()) -> list[models.CheckConstraint]:
    """CHECKs that keep `amounts` within a single amount's bound and `sums` within 64 bits (whole numbers on SQLite: see `IntegerCheck`)."""
    checks = []
    for names, limit in ((amounts, AMOUNT_LIMIT), (sums, SUM_LIMIT)):
        for name in names:
            bounds: dict[str, Any] = {f"{name}__gte": -limit, f"{name}__lte": limit}
            condition = cast(models.Q, models.Q(**bounds) & IntegerCheck(name))
            checks.append(models.CheckConstraint(name=f"{model}_{name}_range", condition=condition))
    return checks


class IntegerCheck(Func):
    """True where the column holds an integer: by its type on PostgreSQL, by typeof() on SQLite (NULL passes, as in any CHECK).

    SQLite turns an integer that overflows into a float silently: https://www.sqlite.org/datatype3.html
    """

    output_field = models.BooleanField()
    conditional = True

    def __init__(self, name: str) -> None:
        super().__init__(models.F(name))
        self.column = name

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="typeof(%(expressions)s) IN ('integer', 'null')", **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s IS NULL OR TRUE)", **context)

    def deconstruct(self) -> tuple[str, list[str], dict[str, Any]]:
        return ("billing.models.amount.IntegerCheck", [self.column], {})
