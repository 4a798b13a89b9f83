"""What a model costs: integer nano-dollars per million units, with where the price is from."""

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise as StrOrPromise

BUCKETS = (
    "input", "cached", "cache_write_5m", "cache_write_1h", "output", "reasoning", "audio_in", "audio_out", "image_in", "image_out",
)  # fmt: skip


def _price(label: "StrOrPromise") -> "models.BigIntegerField[int | None, int | None]":
    return models.BigIntegerField(label, null=True, blank=True, help_text=_("Nano-dollars per million tokens."))


class PriceColumns(models.Model):
    """Prices by bucket. An empty bucket costs what its parent costs.

    The parent of cached, cache writes, audio and image in is input; of reasoning, audio and image out it is output.
    """

    cached = _price(_("cached input"))
    cache_write_5m = _price(_("cache write, 5 minutes"))
    cache_write_1h = _price(_("cache write, 1 hour"))
    reasoning = _price(_("reasoning"))
    audio_in = _price(_("audio in"))
    audio_out = _price(_("audio out"))
    image_in = _price(_("image in"))
    image_out = _price(_("image out"))
    per_request = models.BigIntegerField(_("per request"), default=0, help_text=_("Nano-dollars."))
    per_tool_call = models.BigIntegerField(_("per tool call"), default=0, help_text=_("Nano-dollars."))
    tiers = models.JSONField(
        _("tiers"),
        default=list,
        blank=True,
        help_text=_('[{"above": input tokens, "input": price, "output": price, …}]: prices once the input is longer.'),
    )

    class Meta:
        abstract = True


def in_range(prefix: str) -> list[models.CheckConstraint]:
    """The constraints of a table with PriceColumns: no price below 0 or above a million dollars."""
    return [
        models.CheckConstraint(
            name=f"{prefix}_{name}_range",
            condition=models.Q(**{f"{name}__isnull": True}) | models.Q(**{f"{name}__gte": 0, f"{name}__lte": 10**15}),
        )
        for name in (*BUCKETS, "per_request", "per_tool_call")
    ]


class ModelPrice(PriceColumns):
    """The price list: a model's price where no PriceRule says otherwise."""

    class Source(models.TextChoices):
        CATALOGUE = "genai-prices", "genai-prices"
        CHINA = "prices_cn", _("our list of Chinese providers")
        OPERATOR = "operator", _("operator")

    model = models.CharField(_("model"), max_length=200, unique=True)
    input = models.BigIntegerField(_("input"), help_text=_("Nano-dollars per million tokens."))
    output = models.BigIntegerField(_("output"), help_text=_("Nano-dollars per million tokens."))
    context_limit = models.BigIntegerField(_("context"), null=True, blank=True, help_text=_("Tokens."))
    output_limit = models.BigIntegerField(_("output limit"), null=True, blank=True, help_text=_("Tokens."))
    source = models.CharField(_("source"), max_length=16, choices=Source.choices, default=Source.OPERATOR)
    source_date = models.DateField(_("source's date"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("model price")
        verbose_name_plural = _("model prices")
        ordering: ClassVar = ["model"]
        constraints: ClassVar = [*in_range("price")]

    def __str__(self) -> str:
        return self.model


class PriceRule(PriceColumns):
    """A price beside the list: for a group, a channel, or from a day on (billing/price_rules.py says which of several decides).

    `channel_id` is a number without a foreign key: channels are not this app's. A rule that has begun is history and stays.
    """

    class Side(models.TextChoices):
        CHARGE = "charge", _("what callers pay")
        COST = "cost", _("what the upstream asks")

    side = models.CharField(_("side"), max_length=8, choices=Side.choices, default=Side.CHARGE)
    model = models.CharField(_("model"), max_length=200, blank=True, help_text=_("Empty: every model."))
    group = models.ForeignKey(
        "accounts.Group", models.CASCADE, verbose_name=_("group"), null=True, blank=True, related_name="+", help_text=_("Empty: every group.")
    )
    channel_id = models.BigIntegerField(_("channel"), null=True, blank=True, help_text=_("Empty: every channel."))
    starts_at = models.DateTimeField(_("from"), default=timezone.now, help_text=_("Takes effect at this moment, without a restart."))
    ratio_ppm = models.BigIntegerField(_("ratio to the list"), null=True, blank=True, help_text=_("Parts per million."))
    input = _price(_("input"))
    output = _price(_("output"))
    note = models.CharField(_("note"), max_length=255, blank=True)
    created_at = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("price rule")
        verbose_name_plural = _("price rules")
        ordering: ClassVar = ["-starts_at", "-id"]
        indexes: ClassVar = [models.Index(fields=["model", "side"], name="price_rule_model")]
        constraints: ClassVar = [
            *in_range("price_rule"),
            models.CheckConstraint(
                name="price_rule_ratio_or_prices",
                condition=models.Q(ratio_ppm__isnull=True, input__isnull=False, output__isnull=False)
                | models.Q(ratio_ppm__isnull=False, ratio_ppm__gte=0, ratio_ppm__lte=10**9, input__isnull=True, output__isnull=True),
            ),
            models.CheckConstraint(name="price_rule_prices_name_a_model", condition=models.Q(ratio_ppm__isnull=False) | ~models.Q(model="")),
            models.CheckConstraint(name="price_rule_cost_has_no_group", condition=~models.Q(side="cost") | models.Q(group__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.get_side_display()}: {self.model or _('every model')}"
