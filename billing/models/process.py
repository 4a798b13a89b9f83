"""What processes hold and report: leases, counters and holds."""

from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.amount import money_checks
from billing.models.balance import Balance


class Process(models.Model):
    """A process that may spend. `beat` rises while it lives; a fenced one has lost its leases."""

    boot_id = models.CharField(_("boot id"), max_length=32, unique=True)
    slot = models.IntegerField(_("slot"))
    host = models.CharField(_("host"), max_length=255)
    beat = models.BigIntegerField(default=0)
    session = models.BigIntegerField(default=0)
    fenced = models.BooleanField(_("fenced"), default=False)
    journal_pending = models.BigIntegerField(default=0)
    journal_sum = models.BigIntegerField(default=0)
    started_at = models.DateTimeField(_("started"))

    class Meta:
        verbose_name = _("process")
        verbose_name_plural = _("processes")

    def __str__(self) -> str:
        return self.boot_id


class Lease(models.Model):
    """Money of a balance that one process may spend; negative after an over-run, until its next acquire."""

    boot_id = models.CharField(max_length=32)
    balance = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="leases", verbose_name=_("balance"))
    remaining = models.BigIntegerField(_("remaining"))
    recall_seen = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("lease")
        verbose_name_plural = _("leases")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["boot_id", "balance"], name="lease_key"),
            *money_checks("lease", sums=("remaining",)),
        ]

    def __str__(self) -> str:
        return f"{self.boot_id} {self.balance_id}"


class Counter(models.Model):
    """Used amount and requests of a user, token or channel: a row a process slot, read as a sum."""

    kind = models.CharField(max_length=8)
    subject = models.BigIntegerField()
    slot = models.IntegerField()
    amount = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("counter")
        verbose_name_plural = _("counters")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["kind", "subject", "slot"], name="counter_key"),
            *money_checks("counter", sums=("amount",)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.subject}"


class Hold(models.Model):
    """Money set aside for work that outlives its request; owned by a job, with a deadline."""

    hold_id = models.UUIDField()
    balance = models.ForeignKey(Balance, on_delete=models.PROTECT, related_name="holds", verbose_name=_("balance"))
    amount = models.BigIntegerField(_("amount"))
    job = models.CharField(_("job"), max_length=128)
    deadline = models.DateTimeField(_("deadline"))

    class Meta:
        verbose_name = _("hold")
        verbose_name_plural = _("holds")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["hold_id", "balance"], name="hold_key"),
            models.CheckConstraint(name="hold_amount_positive", condition=models.Q(amount__gte=0)),
            *money_checks("hold", amounts=("amount",)),
        ]

    def __str__(self) -> str:
        return str(self.hold_id)
