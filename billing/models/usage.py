"""The charge of one request: append-only, written in the same transaction as the balances that it changes."""

import datetime
import uuid
from typing import ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

from billing.models.amount import money_checks

UUID_WITH_TIME = 7


class UsageQuerySet(models.QuerySet["UsageRecord"]):
    """Requests and health tests."""

    def with_id(self, identity: uuid.UUID) -> "UsageQuerySet":
        """The record of that id, if there is one. The millisecond inside a UUIDv7 is the record's `at` (docs/ledger.md §4): with it the search
        touches one partition and its key (at, id) alone; without, the index of every month.
        """
        rows = self.filter(pk=identity)
        if identity.version != UUID_WITH_TIME:
            return rows
        start = datetime.datetime.fromtimestamp((identity.int >> 80) / 1000, tz=datetime.UTC)
        return rows.filter(at__gte=start, at__lt=start + datetime.timedelta(milliseconds=1))


class UsageRecord(models.Model):
    """One request (or health test): who, through which channel, what was used, what it cost, and how it ended.

    Users, tokens and channels are named by id without foreign keys: a charge cannot fail on a row that is gone.
    On PostgreSQL the table is partitioned by month with the primary key (at, id): billing/partitions.py.
    """

    class Type(models.TextChoices):
        REQUEST = "request", _("request")
        TEST = "test", _("health test")

    class Ending(models.TextChoices):
        DONE = "done", _("done")
        PARTIAL = "partial", _("partial: the upstream broke off")
        ABANDONED = "abandoned", _("abandoned by the client")
        FAILED = "failed", _("failed")
        EMPTY = "empty", _("empty answer")

    id = models.UUIDField(_("id"), primary_key=True)
    at = models.DateTimeField(_("at"))
    type = models.CharField(_("type"), max_length=8, choices=Type.choices, default=Type.REQUEST)
    ended = models.CharField(_("ended"), max_length=10, choices=Ending.choices)
    boot_id = models.CharField(max_length=32)
    balances = models.JSONField(_("balances"), default=list, help_text=_("Ids of the balances asked at admission."))
    user_id = models.BigIntegerField(_("user"))
    token_id = models.BigIntegerField(_("token"))
    channel_id = models.BigIntegerField(_("channel"))
    key_id = models.BigIntegerField(_("channel key"))
    group = models.CharField(_("group"), max_length=64)
    endpoint = models.CharField(_("endpoint"), max_length=40)
    model = models.CharField(_("model"), max_length=200)
    model_served = models.CharField(_("model served"), max_length=200)
    stream = models.BooleanField(_("streamed"))
    counted = models.BooleanField(_("counted by us"), help_text=_("The upstream sent no usable usage."))
    input_tokens = models.BigIntegerField(_("input"))
    output_tokens = models.BigIntegerField(_("output"))
    amount = models.BigIntegerField(_("amount"))
    refunded = models.BigIntegerField(_("refunded"), default=0)
    upstream_cost = models.BigIntegerField(_("upstream cost"))
    status = models.SmallIntegerField(_("status"))
    duration_ms = models.BigIntegerField(_("duration"))
    first_token_ms = models.BigIntegerField(_("first token"), null=True)
    upstream_request_id = models.CharField(_("upstream's request id"), max_length=128, blank=True, default="")
    client_ip = models.CharField(_("client address"), max_length=45, blank=True, default="")
    detail = models.JSONField(
        _("detail"), default=dict, help_text=_("usage by bucket, the lines bucket x price = amount, ratio, attempts, error, flags.")
    )

    objects = UsageQuerySet.as_manager()

    class Meta:
        verbose_name = _("usage record")
        verbose_name_plural = _("usage log")
        indexes: ClassVar = [
            models.Index(fields=["-at"], name="usage_at"),
            models.Index(fields=["user_id", "-at"], name="usage_user_at"),
            models.Index(fields=["token_id", "-at"], name="usage_token_at"),
            models.Index(fields=["channel_id", "-at"], name="usage_channel_at"),
            models.Index(fields=["model", "-at"], name="usage_model_at"),
            models.Index(fields=["at"], name="usage_refunded", condition=models.Q(refunded__gt=0)),  # few: the audit reads no more of them
        ]
        constraints: ClassVar = [
            models.CheckConstraint(name="usage_amount_positive", condition=models.Q(amount__gte=0)),
            models.CheckConstraint(name="usage_refund_within_amount", condition=models.Q(refunded__gte=0, refunded__lte=models.F("amount"))),
            *money_checks("usage", amounts=("amount", "upstream_cost")),
        ]

    def __str__(self) -> str:
        return str(self.id)
