"""Tokens (`sk-` keys) and the feed of changes by which relay processes keep their snapshot."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.fields import EncryptedTextField
from accounts.models import Group


class Token(models.Model):
    """An `sk-` key of a user. Its limit, if it has one, is the balance (token, id). Tombstoned, never deleted."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="tokens", verbose_name=_("user"))
    name = models.CharField(_("name"), max_length=64)
    key = EncryptedTextField(_("key"), editable=False, blank=True, default="", help_text=_("Empty where keys are shown once."))
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(_("ends in"), max_length=8, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    unlimited = models.BooleanField(_("unlimited"), default=False, help_text=_("Spends its user's balance without a limit of its own."))
    allowed_models = models.JSONField(_("allowed models"), default=list, blank=True, help_text=_("Empty: all of its group."))
    allowed_subnets = models.JSONField(_("allowed subnets"), default=list, blank=True, help_text=_("Empty: from anywhere."))
    group = models.ForeignKey(
        Group,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="tokens",
        verbose_name=_("group"),
        help_text=_("Empty: its user's."),
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        indexes: ClassVar = [
            models.Index(fields=["user", "-id"], name="token_user"),
            models.Index(fields=["-created_at"], name="token_created"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "name"], condition=models.Q(deleted_at__isnull=True), name="token_name_a_user"),
        ]

    def __str__(self) -> str:
        return self.name


class ChangeCounter(models.Model):
    """One locked row that numbers changes in the order of their commits."""

    version = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = _("change counter")
        constraints: ClassVar = [models.CheckConstraint(name="change_counter_one_row", condition=models.Q(id=1))]

    def __str__(self) -> str:
        return str(self.version)


class Change(models.Model):
    """A row of a watched table changed: written by triggers (gateway/triggers.py), read by gateway/watch.py."""

    version = models.BigIntegerField(unique=True)
    table = models.CharField(max_length=32)
    key = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("change")

    def __str__(self) -> str:
        return f"{self.version} {self.table} {self.key}"
