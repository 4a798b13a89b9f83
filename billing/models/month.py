"""Closed months: their sums, from which the audit starts, and what became of their rows."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.amount import money_checks


class ClosedMonth(models.Model):
    """A month (UTC, by its first day) whose charges stand in checkpoints. Months are closed, and pruned, one after the other.

    The first one covers whatever is older as well. `changes` counts the charges that came, and the refunds that were made, after the close: an
    archive is complete while `archived_changes` is the same number. A month with `pruned_at` keeps no rows and takes none.
    """

    month = models.DateField(_("month"), unique=True)
    closed_at = models.DateTimeField(_("closed"))
    changes = models.BigIntegerField(_("changes since"), default=0)
    archived_at = models.DateTimeField(_("archived"), null=True, blank=True)
    archived_changes = models.BigIntegerField(default=0)
    archive = models.CharField(_("archive"), max_length=64, blank=True, default="")
    sha256 = models.CharField(max_length=64, blank=True, default="")
    rows = models.BigIntegerField(_("rows"), default=0)
    refunded = models.BigIntegerField(_("refunded"), default=0)
    pruned_at = models.DateTimeField(_("pruned"), null=True, blank=True)
    emptied_at = models.DateTimeField(_("rows gone"), null=True, blank=True)

    class Meta:
        verbose_name = _("closed month")
        verbose_name_plural = _("closed months")
        constraints: ClassVar = [
            models.CheckConstraint(
                name="closed_month_archived_first", condition=models.Q(pruned_at__isnull=True) | models.Q(archived_at__isnull=False)
            ),
            *money_checks("closed_month", sums=("refunded",)),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"


class Checkpoint(models.Model):
    """The charges of one closed month (of a ClosedMonth) that name a balance, or that a user's, token's or channel's counter counts.

    `kind` is "balance" with the balance's id as subject, or the counter's kind with its subject. Late charges add themselves.
    """

    kind = models.CharField(_("kind"), max_length=16)
    subject = models.BigIntegerField(_("subject"))
    month = models.DateField(_("month"))
    charges = models.BigIntegerField(_("charges"), default=0)
    requests = models.BigIntegerField(_("requests"), default=0)

    class Meta:
        verbose_name = _("checkpoint")
        verbose_name_plural = _("checkpoints")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject", "month"], name="checkpoint_key"),
            *money_checks("checkpoint", sums=("charges",)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject} {self.month}"
