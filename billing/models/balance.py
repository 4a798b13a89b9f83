"""Balances, and what people do to them. Machines spend from them through leases (billing/ledger)."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.amount import money_checks


class Kind(models.TextChoices):
    """What a balance belongs to."""

    WALLET = "wallet", _("wallet")
    TOKEN = "token", _("token limit")
    USER_DAY = "user_day", _("user's daily budget")
    USER_WEEK = "user_week", _("user's weekly budget")
    USER_MONTH = "user_month", _("user's monthly budget")
    TOKEN_DAY = "token_day", _("token's daily budget")
    TOKEN_WEEK = "token_week", _("token's weekly budget")
    TOKEN_MONTH = "token_month", _("token's monthly budget")


class Balance(models.Model):
    """Money that requests may spend. `available` is what no process has leased; it may be negative only as docs/ledger.md §3 says.

    wallet: available + leases + holds = entries - charges. Token and budget: the same sum = limit - charges.
    """

    kind = models.CharField(_("kind"), max_length=16, choices=Kind.choices)
    subject = models.BigIntegerField(_("subject"))
    period = models.CharField(_("period"), max_length=10, blank=True, default="", help_text=_("The first day of a budget's period."))
    available = models.BigIntegerField(_("available"), default=0)
    limit = models.BigIntegerField(_("limit"), null=True, blank=True)
    recall_at = models.DateTimeField(null=True, blank=True)
    last_cents = models.CharField(max_length=80, null=True, blank=True)  # noqa: DJ001  NULL says that nobody has them
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("balance")
        verbose_name_plural = _("balances")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject", "period"], name="balance_key"),
            models.CheckConstraint(
                name="balance_limit_where_due",
                condition=models.Q(kind="wallet", limit__isnull=True) | (~models.Q(kind="wallet") & models.Q(limit__isnull=False)),
            ),
            *money_checks("balance", sums=("available", "limit")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} {self.period}".strip()


class LedgerEntry(models.Model):
    """One act of a person on a wallet; append-only. The idempotency key makes a repeated act harmless."""

    class Act(models.TextChoices):
        TOP_UP = "topup", _("top-up")
        REDEEM = "redeem", _("redeem code")
        GIFT = "gift", _("gift")
        REFUND = "refund", _("refund")
        ADJUSTMENT = "adjustment", _("adjustment")
        WRITE_OFF = "writeoff", _("write-off")

    balance = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="entries", verbose_name=_("wallet"))
    act = models.CharField(_("act"), max_length=16, choices=Act.choices)
    amount = models.BigIntegerField(_("amount"), help_text=_("Nano-dollars, signed."))
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("by"))
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    idempotency_key = models.CharField(max_length=128, unique=True, null=True, blank=True)
    charge = models.UUIDField(_("charge"), null=True, blank=True)
    at = models.DateTimeField(_("at"), auto_now_add=True)

    repeated = False
    """No column: True on an entry that a repeated act found by its key."""

    class Meta:
        verbose_name = _("ledger entry")
        verbose_name_plural = _("ledger entries")
        indexes: ClassVar = [
            models.Index(fields=["balance", "-id"], name="entry_balance"),
            models.Index(fields=["balance", "-at"], name="entry_balance_at"),
            models.Index(fields=["-at"], name="entry_at"),
        ]
        constraints: ClassVar = [*money_checks("entry", amounts=("amount",))]

    def __str__(self) -> str:
        return f"{self.act} {self.amount}"
