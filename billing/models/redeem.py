"""Redeem codes: quota as something that a card shop can sell, one code a line."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.fields import EncryptedTextField
from billing.models.amount import money_checks


class RedeemCode(models.Model):
    """A code worth `amount`, found by its SHA-256, redeemed by one user once."""

    batch = models.CharField(_("batch"), max_length=64, blank=True, default="", db_index=True)
    code = EncryptedTextField(_("code"), editable=False)
    code_hash = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("ends in"), max_length=8, editable=False)
    amount = models.BigIntegerField(_("amount"), help_text=_("Nano-dollars."))
    enabled = models.BooleanField(_("enabled"), default=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("minted by"),
        editable=False,
    )
    created_at = models.DateTimeField(_("minted"), auto_now_add=True)
    exported_at = models.DateTimeField(_("exported"), null=True, blank=True, editable=False)
    redeemed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="redeemed_codes",
        verbose_name=_("redeemed by"),
        editable=False,
    )
    redeemed_at = models.DateTimeField(_("redeemed"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("redeem code")
        verbose_name_plural = _("redeem codes")
        indexes: ClassVar = [
            models.Index(fields=["-created_at"], name="redeem_created"),
            models.Index(fields=["redeemed_by", "-redeemed_at"], name="redeem_user"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="redeem_amount_positive", condition=models.Q(amount__gt=0)),
            models.CheckConstraint(
                name="redeem_by_and_at",
                condition=models.Q(redeemed_by__isnull=True, redeemed_at__isnull=True)
                | models.Q(redeemed_by__isnull=False, redeemed_at__isnull=False),
            ),
            *money_checks("redeem", amounts=("amount",)),
        ]

    def __str__(self) -> str:
        return f"…{self.hint}"
