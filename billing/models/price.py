"""What a model costs: integer nano-dollars per million units, with where the price is from."""

from typing import TYPE_CHECKING, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise as StrOrPromise

BUCKETS = (
    "input", "cached", "cache_write_5m", "cache_write_1h", "output", "reasoning", "audio_in", "audio_out", "image_in", "image_out",
)  # fmt: skip


def _price(label: "StrOrPromise") -> "models.BigIntegerField[int | None, int | None]":
    return models.BigIntegerField(label, null=True, blank=True, help_text=_("Nano-dollars per million tokens."))


class ModelPrice(models.Model):
    """The price of one model. An empty bucket costs what its parent costs.

    The parent of cached, cache writes, audio and image in is input; of reasoning, audio and image out it is output.
    """

    class Source(models.TextChoices):
        CATALOGUE = "genai-prices", "genai-prices"
        CHINA = "prices_cn", _("our list of Chinese providers")
        OPERATOR = "operator", _("operator")

    model = models.CharField(_("model"), max_length=200, unique=True)
    input = models.BigIntegerField(_("input"), help_text=_("Nano-dollars per million tokens."))
    cached = _price(_("cached input"))
    cache_write_5m = _price(_("cache write, 5 minutes"))
    cache_write_1h = _price(_("cache write, 1 hour"))
    output = models.BigIntegerField(_("output"), help_text=_("Nano-dollars per million tokens."))
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
    context_limit = models.BigIntegerField(_("context"), null=True, blank=True, help_text=_("Tokens."))
    output_limit = models.BigIntegerField(_("output limit"), null=True, blank=True, help_text=_("Tokens."))
    source = models.CharField(_("source"), max_length=16, choices=Source.choices, default=Source.OPERATOR)
    source_date = models.DateField(_("source's date"), null=True, blank=True)
    updated_at = models.DateTimeField(_("updated"), auto_now=True)

    class Meta:
        verbose_name = _("model price")
        verbose_name_plural = _("model prices")
        ordering: ClassVar = ["model"]
        constraints: ClassVar = [
            models.CheckConstraint(
                name=f"price_{name}_range",
                condition=models.Q(**{f"{name}__isnull": True}) | models.Q(**{f"{name}__gte": 0, f"{name}__lte": 10**15}),
            )
            for name in (*BUCKETS, "per_request", "per_tool_call")
        ]

    def __str__(self) -> str:
        return self.model
