"""Prices, entered in US dollars per million tokens, kept in nano-dollars."""

import json
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django import forms
from django.contrib import admin
from django.forms.models import model_to_dict
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.staff_admin import StaffAdmin
from billing.display import usd, usd_cell
from billing.forms import NanoPriceField
from billing.models import ModelPrice
from billing.models.price import BUCKETS
from billing.money import format_usd, parse_usd
from billing.pricing import price_from

if TYPE_CHECKING:
    PriceModelForm = forms.ModelForm[ModelPrice]
else:
    PriceModelForm = forms.ModelForm

EACH = ("per_request", "per_tool_call")


class TiersField(forms.CharField):
    """Tiers as JSON with prices in US dollars per million tokens; its clean value has them in nano-dollars."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        shown = [{name: amount if name == "above" else format_usd(amount) for name, amount in tier.items()} for tier in value]
        return json.dumps(shown, indent=1) if shown else ""

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value) or "").strip() or "[]"
        try:
            tiers = json.loads(text, parse_float=str)
            if not isinstance(tiers, list):
                raise TypeError("no list")
            return [self.tier(tier) for tier in tiers]
        except (ValueError, TypeError, AttributeError, KeyError):
            sample = '[{"above": 200000, "input": 2.5, "output": 15}]'
            raise forms.ValidationError(_("Enter a JSON list such as %(sample)s, in US dollars per million."), params={"sample": sample}) from None

    def tier(self, written: dict[str, Any]) -> dict[str, int]:
        """One tier in nano-dollars. KeyError, ValueError: not of the shape."""
        if not isinstance(written["above"], int) or isinstance(written["above"], bool) or written["above"] < 0:
            raise ValueError("above")
        prices = {name: parse_usd(str(amount)) for name, amount in written.items() if name != "above"}
        if set(prices) - set(BUCKETS) or any(price < 0 for price in prices.values()):
            raise ValueError("bucket")
        return {"above": written["above"], **prices}

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != (initial or []))
        except forms.ValidationError:
            return True


class PriceForm(PriceModelForm):
    """One model's prices; an empty bucket costs what its parent costs."""

    tiers = TiersField(
        label=_("tiers"),
        required=False,
        help_text=_('Prices once the input is longer than so many tokens: [{"above": 200000, "input": 2.5, "output": 15}].'),
    )
    context_limit = forms.IntegerField(label=_("context"), required=False, min_value=1, max_value=100_000_000, help_text=_("Tokens."))
    output_limit = forms.IntegerField(label=_("output limit"), required=False, min_value=1, max_value=100_000_000, help_text=_("Tokens."))

    class Meta:
        model = ModelPrice
        fields: ClassVar = ["model", *BUCKETS, *EACH, "tiers", "context_limit", "output_limit"]

    def clean(self) -> dict[str, Any]:
        """The whole must be a price that the relay can read."""
        cleaned = super().clean() or self.cleaned_data
        if not self.errors:
            for name in EACH:
                cleaned[name] = cleaned.get(name) or 0
            try:
                price_from({**model_to_dict(self.instance), **cleaned})
            except msgspec.ValidationError as error:
                raise forms.ValidationError(_("This is no price: %(error)s"), params={"error": str(error)}) from None
        return cleaned


@admin.register(ModelPrice)
class ModelPriceAdmin(StaffAdmin):
    """Saving marks a price as the operator's own: the catalogue no longer changes it."""

    form = PriceForm
    list_display = ("model", "input_usd", "output_usd", "cached_usd", "per_request_usd", "context", "origin", "updated_at")
    list_filter = (("source", ChoicesDropdownFilter),)
    search_fields = ("model",)
    ordering = ("model",)
    readonly_fields = ("source", "source_date", "updated_at")
    fieldsets: ClassVar = (
        (None, {"fields": ("model", ("input", "output"), ("cached", "reasoning"))}),
        (_("Cache writes, audio, images"), {"fields": (("cache_write_5m", "cache_write_1h"), ("audio_in", "audio_out"), ("image_in", "image_out"))}),
        (_("Each, and by length"), {"fields": (("per_request", "per_tool_call"), "tiers", ("context_limit", "output_limit"))}),
        (_("Source"), {"fields": ("source", "source_date", "updated_at")}),
    )

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A price may go: charges keep the prices that they were made with."""
        return bool(request.user.has_perm("billing.delete_modelprice"))

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in (*BUCKETS, *EACH):
            unit = _("US dollars each.") if db_field.name in EACH else _("US dollars per million tokens.")
            return NanoPriceField(label=db_field.verbose_name, required=not db_field.null and db_field.name not in EACH, help_text=unit)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ModelPrice, form: Any, change: bool) -> None:
        obj.source = ModelPrice.Source.OPERATOR
        obj.source_date = None
        super().save_model(request, obj, form, change)

    @display(description=_("input / 1M"), ordering="input")
    def input_usd(self, price: ModelPrice) -> str:
        return usd_cell(price.input)

    @display(description=_("output / 1M"), ordering="output")
    def output_usd(self, price: ModelPrice) -> str:
        return usd_cell(price.output)

    @display(description=_("cached / 1M"), ordering="cached")
    def cached_usd(self, price: ModelPrice) -> str:
        return usd_cell(price.cached)

    @display(description=_("per request"), ordering="per_request")
    def per_request_usd(self, price: ModelPrice) -> str:
        return usd(price.per_request) if price.per_request else "–"

    @display(description=_("context"), ordering="context_limit")
    def context(self, price: ModelPrice) -> str:
        return format_html('<span class="figure">{}</span>', f"{price.context_limit:,}") if price.context_limit else "–"

    @display(description=_("source"), ordering="source", label={"operator": "primary", "genai-prices": "info", "prices_cn": "info"})
    def origin(self, price: ModelPrice) -> tuple[str, str]:
        return price.source, price.get_source_display()
