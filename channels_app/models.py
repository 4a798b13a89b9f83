"""Upstream channels: what the operator configures (Channel, ChannelKey) apart from what the machine observes (ChannelState)."""

from typing import ClassVar

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.fields import EncryptedTextField
from accounts.models import Group


class Channel(models.Model):
    """An upstream that the operator entered. Tombstoned, never deleted: charges name it by id."""

    provider = models.CharField(_("provider"), max_length=32)
    name = models.CharField(_("name"), max_length=100)
    base_url = models.CharField(_("base URL"), max_length=500, blank=True, help_text=_("Empty: the provider's own address."))
    model_names = models.JSONField(_("models"), default=list, blank=True, help_text=_("Names that clients ask for."))
    groups = models.ManyToManyField(Group, verbose_name=_("groups"), related_name="channels", blank=True)
    mapping = models.JSONField(_("model mapping"), default=dict, blank=True, help_text=_('{"asked": "name at the upstream"}'))
    priority = models.IntegerField(_("priority"), default=0, help_text=_("Higher is tried first."))
    weight = models.PositiveIntegerField(
        _("weight"),
        default=1,
        validators=[MinValueValidator(0), MaxValueValidator(1_000_000)],
        help_text=_("Share among channels of one priority."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    auto_disable = models.BooleanField(
        _("disable automatically"), default=True, help_text=_("When the upstream says that a key is dead or out of credit.")
    )
    system_prompt = models.TextField(_("system prompt"), blank=True, help_text=_("Put in place of the client's."))
    settings = models.JSONField(_("provider settings"), default=dict, blank=True)
    test_model = models.CharField(_("test model"), max_length=200, blank=True, help_text=_("Empty: the first of its models."))
    proxy = EncryptedTextField(_("outbound proxy"), blank=True, default="")
    extra_headers = EncryptedTextField(_("extra headers"), blank=True, default="", help_text=_("A JSON object."))
    remark = models.CharField(_("remark"), max_length=255, blank=True)
    version = models.PositiveIntegerField(default=0, editable=False)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)
    deleted_at = models.DateTimeField(_("deleted"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("channel")
        verbose_name_plural = _("channels")
        ordering: ClassVar = ["-priority", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["name"], condition=models.Q(deleted_at__isnull=True), name="channel_name"),
        ]

    def __str__(self) -> str:
        return self.name


class ChannelKey(models.Model):
    """One credential of a channel, encrypted; never shown again to anybody."""

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="keys", verbose_name=_("channel"))
    secret = EncryptedTextField(_("key"))
    fingerprint = models.CharField(max_length=64, editable=False)
    hint = models.CharField(_("ends in"), max_length=8, editable=False)
    enabled = models.BooleanField(_("enabled"), default=True)

    class Meta:
        verbose_name = _("channel key")
        verbose_name_plural = _("channel keys")
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["channel", "fingerprint"], name="channel_key_once")]

    def __str__(self) -> str:
        return f"…{self.hint}"


class ChannelState(models.Model):
    """What the machine observed of a channel (key empty) or of one of its keys."""

    class Status(models.TextChoices):
        OK = "ok", _("ok")
        DISABLED = "disabled", _("disabled automatically")

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="states", verbose_name=_("channel"))
    key = models.ForeignKey(ChannelKey, on_delete=models.CASCADE, null=True, blank=True, related_name="states", verbose_name=_("key"))
    status = models.CharField(_("automatic status"), max_length=10, choices=Status.choices, default=Status.OK)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    changed_at = models.DateTimeField(_("since"), null=True, blank=True)
    tested_at = models.DateTimeField(_("tested"), null=True, blank=True)
    response_ms = models.PositiveIntegerField(_("response time (ms)"), null=True, blank=True)
    test_error = models.CharField(_("last test's error"), max_length=500, blank=True)
    balance = models.DecimalField(_("upstream balance"), max_digits=20, decimal_places=6, null=True, blank=True)
    balance_currency = models.CharField(_("currency"), max_length=8, blank=True)
    balance_at = models.DateTimeField(_("balance asked"), null=True, blank=True)

    class Meta:
        verbose_name = _("channel state")
        verbose_name_plural = _("channel states")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["channel"], condition=models.Q(key__isnull=True), name="state_of_channel"),
            models.UniqueConstraint(fields=["key"], condition=models.Q(key__isnull=False), name="state_of_key"),
        ]

    def __str__(self) -> str:
        return f"{self.channel_id}/{self.key_id or '-'} {self.status}"
