"""What users and tokens may spend in a day, a week and a month."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.amount import money_checks
from billing.models.balance import Kind

BUDGET_KINDS = (Kind.USER_DAY, Kind.USER_WEEK, Kind.USER_MONTH, Kind.TOKEN_DAY, Kind.TOKEN_WEEK, Kind.TOKEN_MONTH)


class Budget(models.Model):
    """What every period of one kind may cost a user or a token. The period's balance is made of it by the first request in the period.

    Whoever makes that balance reads this row FOR SHARE; whoever edits it locks it first, then the balances of the period under way.
    """

    kind = models.CharField(_("kind"), max_length=16, choices=[(kind.value, kind.label) for kind in BUDGET_KINDS])
    subject = models.BigIntegerField(_("subject"))
    limit = models.BigIntegerField(_("limit"), help_text=_("Nano-dollars in each period."))
    changed_at = models.DateTimeField(_("changed"), auto_now=True)

    class Meta:
        verbose_name = _("budget")
        verbose_name_plural = _("budgets")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject"], name="budget_key"),
            models.CheckConstraint(name="budget_kind", condition=models.Q(kind__in=[kind.value for kind in BUDGET_KINDS])),
            models.CheckConstraint(name="budget_not_negative", condition=models.Q(limit__gte=0)),
            *money_checks("budget", amounts=("limit",)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"
