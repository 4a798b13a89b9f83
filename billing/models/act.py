"""Acts on limits, and the audits that were run: rows that explain, written once."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.amount import money_checks
from billing.models.balance import Balance


class LimitChange(models.Model):
    """One act of a person on a limit, in one transaction with it: `amount` more (or less) for `balance`, taken from another where it moved.

    Limits have no entries: what a token may spend is `limit`, and this row says who made it so. The limit at its creation is no change.
    """

    class Act(models.TextChoices):
        EDIT = "edit", _("edit of a limit")
        TRANSFER = "transfer", _("transfer")

    balance = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="limit_changes", verbose_name=_("limit"))
    taken_from = models.ForeignKey(
        Balance, on_delete=models.PROTECT, null=True, blank=True, related_name="limit_transfers", verbose_name=_("taken from")
    )
    act = models.CharField(_("act"), max_length=16, choices=Act.choices)
    amount = models.BigIntegerField(_("amount"), help_text=_("Nano-dollars, signed."))
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("by"))
    reason = models.CharField(_("reason"), max_length=255, blank=True)
    reference = models.CharField(_("reference"), max_length=128, unique=True, null=True, blank=True)
    at = models.DateTimeField(_("at"), auto_now_add=True)

    repeated = False
    """No column: True on a row that a repeated act found by its reference."""

    class Meta:
        verbose_name = _("change of a limit")
        verbose_name_plural = _("changes of limits")
        indexes: ClassVar = [
            models.Index(fields=["balance", "-at"], name="limit_change_balance"),
            models.Index(fields=["taken_from", "-at"], name="limit_change_source"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="limit_change_transfer",
                condition=models.Q(act="edit", taken_from__isnull=True) | models.Q(act="transfer", taken_from__isnull=False, amount__gt=0),
            ),
            *money_checks("limit_change", sums=("amount",)),
        ]

    def __str__(self) -> str:
        return f"{self.act} {self.amount}"


class AuditRun(models.Model):
    """One audit: asked for, run, and what it found. `ok` is empty until it ends; it stays so where the audit itself failed."""

    created_at = models.DateTimeField(_("asked for"), auto_now_add=True)
    started_at = models.DateTimeField(_("started"), null=True, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True, blank=True)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+", verbose_name=_("asked for by")
    )
    full = models.BooleanField(_("from the first row on"), default=True, help_text=_("Otherwise from the sums of closed months."))
    ok = models.BooleanField(_("everything adds up"), null=True, blank=True)
    charges = models.BigIntegerField(_("charges"), default=0)
    charged = models.BigIntegerField(_("charged"), default=0, help_text=_("Nano-dollars."))
    balances = models.BigIntegerField(_("balances"), default=0)
    counters = models.BigIntegerField(_("counters"), default=0)
    journal_pending = models.BigIntegerField(_("charges in journals"), default=0)
    found = models.BigIntegerField(_("differences"), default=0)
    differences = models.JSONField(_("differences listed"), default=list, blank=True)
    below_zero = models.BigIntegerField(_("balances below zero"), default=0)
    below_zero_sum = models.BigIntegerField(_("missing in them"), default=0, help_text=_("Nano-dollars."))
    error = models.CharField(_("error"), max_length=255, blank=True)
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    alarmed_at = models.DateTimeField(_("alarm raised"), null=True, blank=True)

    class Meta:
        verbose_name = _("audit")
        verbose_name_plural = _("audits")
        indexes: ClassVar = [models.Index(fields=["-created_at"], name="audit_run_created")]

    def __str__(self) -> str:
        return str(self.pk)
