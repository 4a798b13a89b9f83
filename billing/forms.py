"""Form fields that show dollars and keep nano-dollars."""

from decimal import Decimal
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing.money import AMOUNT_LIMIT, NANO, format_usd, parse_usd


class UsdField(forms.CharField):
    """An amount in US dollars, entered as a plain decimal number; its clean value is an integer of nano-dollars, None where it is empty."""

    def __init__(self, *, signed: bool = False, positive: bool = False, **options: Any) -> None:
        self.signed = signed
        self.positive = positive
        options.setdefault("widget", UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal", "autocomplete": "off"}))
        super().__init__(max_length=40, **options)

    def prepare_value(self, value: Any) -> Any:
        return format_usd(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value) or "").strip().removeprefix("$").replace(",", "")
        if not text:
            return None
        try:
            nano = parse_usd(text)
        except ValueError:
            raise forms.ValidationError(_("Enter US dollars as a number such as 1.25, at most 1,000,000, with at most 9 decimals.")) from None
        if nano < 0 and not self.signed:
            raise forms.ValidationError(_("The amount cannot be less than nothing."))
        if nano == 0 and self.positive:
            raise forms.ValidationError(_("The amount must be more than nothing."))
        return nano

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != initial)
        except forms.ValidationError:
            return True


class NanoPriceField(forms.DecimalField):
    """A price in US dollars (per million tokens, or each), kept as an integer of nano-dollars; None where it is empty."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", UnfoldAdminDecimalFieldWidget(attrs={"step": "any", "min": "0"}))
        super().__init__(min_value=Decimal(0), max_value=Decimal(AMOUNT_LIMIT // NANO), decimal_places=9, **options)

    def prepare_value(self, value: Any) -> Any:
        return format_usd(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        dollars = super().clean(value)
        return None if dollars is None else int(dollars * NANO)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != initial)
        except forms.ValidationError:
            return True
