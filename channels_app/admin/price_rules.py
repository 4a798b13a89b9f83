"""Prices beside the list, and the calculator. Here and not beside the list, for a rule may name a channel."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.forms.models import model_to_dict
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget

from accounts.models import Group
from accounts.staff_admin import StaffAdmin
from billing.admin.prices import EACH, TiersField
from billing.display import moment, usd
from billing.forms import NanoPriceField
from billing.models import PriceRule
from billing.models.price import BUCKETS
from billing.price_list import book_of
from billing.pricing import MILLION, price_from
from billing.quote import UNITS, quote_inside, usage_of
from billing.templatetags.charges import BUCKET_NAMES
from channels_app.models import Channel

if TYPE_CHECKING:
    RuleModelForm = forms.ModelForm[PriceRule]
else:
    RuleModelForm = forms.ModelForm

LIVE = Channel.objects.filter(deleted_at__isnull=True).order_by("name")
PERCENT = 10_000  # parts per million in one per cent
LABELS: dict[str, Any] = {**BUCKET_NAMES, "tool_calls": _("tool calls"), "requests": _("requests")}


class RuleForm(RuleModelForm):
    """A rule that begins now or later: with prices of its own, or with a ratio to the list's."""

    channel = forms.ModelChoiceField(
        LIVE,
        label=_("channel"),
        required=False,
        empty_label=_("every channel"),
        widget=UnfoldAdminSelectWidget(),
    )
    percent = forms.DecimalField(
        label=_("per cent of the list price"),
        required=False,
        min_value=Decimal(0),
        max_value=Decimal(100_000),
        decimal_places=4,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any", "min": "0"}),
        help_text=_("Instead of prices: 80 is a fifth off, 100 is the list price again."),
    )
    tiers = TiersField(label=_("tiers"), required=False, help_text=_("As in the price list; only with prices of its own."))

    class Meta:
        model = PriceRule
        fields: ClassVar = ["side", "model", "group", "starts_at", *BUCKETS, *EACH, "tiers", "note"]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.initial.setdefault("channel", self.instance.channel_id)
        if self.instance.ratio_ppm is not None:
            self.initial.setdefault("percent", Decimal(self.instance.ratio_ppm) / PERCENT)

    def clean(self) -> dict[str, Any]:
        """A moment that is past means now. The whole must be a rule that the relay can read."""
        cleaned = super().clean() or self.cleaned_data
        if self.errors:
            return cleaned
        cleaned["starts_at"] = max(cleaned["starts_at"], timezone.now())
        for name in EACH:
            cleaned[name] = cleaned.get(name) or 0
        percent = cleaned.get("percent")
        priced = [name for name in (*BUCKETS, *EACH, "tiers") if cleaned.get(name) not in (None, 0, [])]
        if (percent is not None and any(cleaned.get(name) is not None for name in BUCKETS)) or (percent is not None and priced):
            raise forms.ValidationError(_("A rule has prices of its own or a ratio to the list, not both."))
        if percent is None and (cleaned.get("input") is None or cleaned.get("output") is None):
            raise forms.ValidationError(_("Enter prices of input and output, or a ratio to the list."))
        if percent is None and not cleaned.get("model"):
            raise forms.ValidationError(_("A rule for every model is a ratio to the list."))
        if percent is None:
            try:
                price_from({**model_to_dict(self.instance), **cleaned})
            except msgspec.ValidationError as error:
                raise forms.ValidationError(_("This is no price: %(error)s"), params={"error": str(error)}) from None
        self.instance.ratio_ppm = None if percent is None else int(percent * PERCENT)
        self.instance.channel_id = cleaned["channel"].pk if cleaned.get("channel") else None
        return cleaned


class BegunForm(RuleModelForm):
    """Of a rule that has begun only the note may change: charges were made by it."""

    class Meta:
        model = PriceRule
        fields: ClassVar = ["note"]


class CalculatorForm(forms.Form):
    """Who asks whom for what, and when. Counts are whole numbers."""

    model = forms.CharField(label=_("model"), max_length=200)
    group = forms.ModelChoiceField(Group.objects.order_by("name"), label=_("group"), to_field_name="name", empty_label=None)
    channel = forms.ModelChoiceField(LIVE, label=_("channel"), required=False, empty_label=_("none in particular"))
    at = forms.DateTimeField(label=_("when"), required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for name in UNITS:
            self.fields[name] = forms.IntegerField(label=LABELS[name], required=False, min_value=0, max_value=10**12)


@admin.register(PriceRule)
class PriceRuleAdmin(StaffAdmin):
    """Scheduled rules can be changed and removed. One that has begun is history: a newer rule takes its place."""

    form = RuleForm
    list_display = ("said", "state", "model_shown", "group_shown", "channel_shown", "begins", "price_shown", "note")
    list_select_related = ("group",)
    list_filter = (("side", ChoicesDropdownFilter), ("group", RelatedDropdownFilter))
    search_fields = ("model", "note")
    ordering = ("-starts_at", "-id")
    actions_list = ("calculate",)
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("side", ("model", "group"), "channel", "starts_at", "note")}),
        (_("By the list"), {"fields": ("percent",)}),
        (_("Or prices of its own"), {"fields": (("input", "output"), ("cached", "reasoning"))}),
        (_("Cache writes, audio, images"), {"fields": (("cache_write_5m", "cache_write_1h"), ("audio_in", "audio_out"), ("image_in", "image_out"))}),
        (_("Each, and by length"), {"fields": (("per_request", "per_tool_call"), "tiers")}),
    )
    shown = ("said", "state", "model_shown", "group_shown", "channel_shown", "begins", "price_shown")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        return super().get_form(request, obj, change, **{**kwargs, **({"form": BegunForm} if begun(obj) else {})})

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return ((None, {"fields": (*self.shown, "note")}),) if begun(obj) else self.fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.shown if begun(obj) else ()

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only before it begins."""
        return bool(request.user.has_perm("billing.delete_pricerule")) and not begun(obj)

    def get_actions(self, request: HttpRequest) -> Any:
        """Rules go one by one: some of many chosen ones may have begun."""
        return {name: entry for name, entry in super().get_actions(request).items() if name != "delete_selected"}

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name in (*BUCKETS, *EACH):
            unit = _("US dollars each.") if db_field.name in EACH else _("US dollars per million tokens.")
            return NanoPriceField(label=db_field.verbose_name, required=False, help_text=unit)
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def has_calculate_permission(self, request: HttpRequest) -> bool:
        """Whoever may see prices."""
        return bool(request.user.has_perm("billing.view_modelprice"))

    @action(description=_("What would this cost?"), icon="calculate", url_path="calculate", permissions=["calculate"])
    def calculate(self, request: HttpRequest) -> HttpResponse:
        """The calculator: a form in the address, so that a sum can be passed on as a link."""
        if not self.has_calculate_permission(request):
            raise PermissionDenied
        form = CalculatorForm(request.GET if "model" in request.GET else None)
        context = {**self.admin_site.each_context(request), "opts": self.opts, "title": _("What would this cost?"), "form": form}
        if form.is_valid():
            context |= calculated(form)
        return TemplateResponse(request, "admin/price_calculator.html", context)

    @display(description=_("side"), ordering="side", label={"charge": "primary", "cost": "info"})
    def said(self, rule: PriceRule) -> tuple[str, str]:
        return rule.side, rule.get_side_display()

    @display(description=_("state"), label={"begun": "success", "scheduled": "warning"})
    def state(self, rule: PriceRule) -> tuple[str, str]:
        return ("begun", str(_("has begun"))) if begun(rule) else ("scheduled", str(_("scheduled")))

    @display(description=_("model"), ordering="model")
    def model_shown(self, rule: PriceRule) -> str:
        return rule.model or str(_("every model"))

    @display(description=_("group"), ordering="group")
    def group_shown(self, rule: PriceRule) -> str:
        return rule.group.name if rule.group else str(_("every group"))

    @display(description=_("channel"), ordering="channel_id")
    def channel_shown(self, rule: PriceRule) -> str:
        if rule.channel_id is None:
            return str(_("every channel"))
        return Channel.objects.filter(pk=rule.channel_id).values_list("name", flat=True).first() or f"#{rule.channel_id}"

    @display(description=_("from"), ordering="starts_at")
    def begins(self, rule: PriceRule) -> str:
        return moment(rule.starts_at)

    @display(description=_("price"))
    def price_shown(self, rule: PriceRule) -> str:
        if rule.ratio_ppm is not None:
            return f"{(Decimal(rule.ratio_ppm) / PERCENT).normalize():f} %"
        return f"{usd(rule.input or 0)} / {usd(rule.output or 0)}"


def begun(rule: Any) -> bool:
    """Whether requests may have been charged by it."""
    return rule is not None and rule.pk is not None and rule.starts_at <= timezone.now()


def calculated(form: CalculatorForm) -> dict[str, Any]:
    """The answer, or that the model has no price."""
    asked = form.cleaned_data
    channel: Channel | None = asked["channel"]
    mapped = channel.mapping.get(asked["model"], asked["model"]) if channel else asked["model"]
    now = (asked["at"] or timezone.now()).timestamp()
    group = asked["group"]
    terms = book_of(asked["model"], mapped).terms(asked["model"], mapped, group.name, group.ratio_ppm, channel.pk if channel else 0, now)
    if terms is None:
        return {"unpriced": True}
    quoted = quote_inside(terms, usage_of(asked))
    return {"quoted": quoted, "ratio": f"{(Decimal(quoted['ratio_ppm']) / MILLION).normalize():f}", "mapped": mapped}
