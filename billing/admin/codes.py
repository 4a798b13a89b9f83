"""Redeem codes: minted in batches, exported one a line for a card shop, disabled; a whole code is in an export and nowhere else."""

import csv
import io
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import DropdownFilter, FieldTextFilter
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSplitDateTimeWidget, UnfoldAdminTextInputWidget

from accounts.ranks import acting
from accounts.staff_admin import StaffAdmin
from billing import redeem
from billing.csv_cells import BOM, inert
from billing.display import moment, usd, usd_cell
from billing.forms import UsdField
from billing.models import RedeemCode
from billing.money import format_usd

BATCH_LIMIT = 10_000  # codes minted by one form
EXPORT_LIMIT = 50_000  # codes in one file


class MintForm(forms.Form):
    """What a batch is made of."""

    count = forms.IntegerField(label=_("number of codes"), min_value=1, max_value=BATCH_LIMIT, initial=10, widget=UnfoldAdminIntegerFieldWidget())
    amount = UsdField(positive=True, label=_("worth of each"), help_text=_("US dollars."))
    batch = forms.CharField(
        label=_("batch"), max_length=64, required=False, widget=UnfoldAdminTextInputWidget(), help_text=_("A name by which to find them again.")
    )
    expires_at = forms.SplitDateTimeField(label=_("expires"), required=False, widget=UnfoldAdminSplitDateTimeWidget(), help_text=_("Empty: never."))

    def clean_expires_at(self) -> Any:
        expires = self.cleaned_data["expires_at"]
        if expires is not None and expires <= timezone.now():
            raise forms.ValidationError(_("That moment has passed already."))
        return expires


def unused() -> Q:
    """Codes that can still be redeemed."""
    return Q(redeemed_at__isnull=True, enabled=True) & (Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now()))


class StateFilter(DropdownFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("unused", _("unused")),
            ("new", _("unused, never exported")),
            ("redeemed", _("redeemed")),
            ("disabled", _("disabled")),
            ("expired", _("expired")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> QuerySet[RedeemCode]:
        conditions = {
            "unused": unused(),
            "new": unused() & Q(exported_at__isnull=True),
            "redeemed": Q(redeemed_at__isnull=False),
            "disabled": Q(redeemed_at__isnull=True, enabled=False),
            "expired": Q(redeemed_at__isnull=True, expires_at__lte=timezone.now()),
        }
        return queryset.filter(conditions.get(self.value() or "", Q()))


@admin.register(RedeemCode)
class RedeemCodeAdmin(StaffAdmin):
    """Codes are never changed once minted, except that they are switched off and on."""

    list_display = ("ends_in", "batch", "worth", "state", "expires", "minted_on", "exported_on", "redeemed_by", "redeemed_on")
    list_select_related = ("redeemed_by",)
    list_filter: ClassVar[Any] = (StateFilter, ("batch", FieldTextFilter))
    search_fields = ("batch", "=hint", "=redeemed_by__username")
    search_help_text = _("A batch, the last characters of a code, or who redeemed it.")
    ordering = ("-id",)
    actions = ("export_text", "export_csv", "disable", "enable")
    fields = ("ends_in", "batch", "worth", "state", "expires_at", "created_by", "created_at", "exported_at", "redeemed_by", "redeemed_at")
    readonly_fields = fields
    list_disable_select_all = False

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Exports hold whole codes, which are money."""
        return bool(request.user.has_perm("billing.add_redeemcode"))

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Mints a batch instead of adding one row."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = MintForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self.minted(request, form.cleaned_data)
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Mint redeem codes"),
            "intro": _("Each code is worth the same and can be redeemed once. Export the batch afterwards, one code a line."),
            "form": form,
            "submit_text": _("Mint"),
            "media": self.media + form.media,
        }
        return TemplateResponse(request, "admin/act.html", context)

    def minted(self, request: HttpRequest, wanted: dict[str, Any]) -> HttpResponse:
        """Mints, notes it in the history, and shows the batch in the list."""
        batch = wanted["batch"] or timezone.now().strftime("%Y-%m-%d %H:%M:%S")
        codes = redeem.mint(wanted["count"], wanted["amount"], batch=batch, expires_at=wanted["expires_at"], author=acting(request))
        first = RedeemCode.objects.filter(batch=batch).order_by("-id").first()
        if first is not None:
            self.log_addition(request, first, f"minted {len(codes)} of {usd(wanted['amount'])}")
        text = ngettext("%(count)d code of %(worth)s minted.", "%(count)d codes of %(worth)s minted.", len(codes))
        messages.success(request, text % {"count": len(codes), "worth": usd(wanted["amount"])})
        return redirect(f"{reverse('admin:billing_redeemcode_changelist')}?{urlencode({'batch__icontains': batch})}")

    @display(description=_("ends in"))
    def ends_in(self, code: RedeemCode) -> str:
        return f"…{code.hint}"

    @display(description=_("worth"), ordering="amount")
    def worth(self, code: RedeemCode) -> str:
        return usd_cell(code.amount)

    @display(description=_("state"), label={"redeemed": "info", "disabled": "danger", "expired": "warning", "unused": "success"})
    def state(self, code: RedeemCode) -> tuple[str, Any]:
        if code.redeemed_at is not None:
            return "redeemed", _("redeemed")
        if not code.enabled:
            return "disabled", _("disabled")
        if code.expires_at is not None and code.expires_at <= timezone.now():
            return "expired", _("expired")
        return "unused", _("unused")

    @display(description=_("expires"), ordering="expires_at")
    def expires(self, code: RedeemCode) -> str:
        return moment(code.expires_at)

    @display(description=_("minted"), ordering="created_at")
    def minted_on(self, code: RedeemCode) -> str:
        return moment(code.created_at)

    @display(description=_("exported"))
    def exported_on(self, code: RedeemCode) -> str:
        return moment(code.exported_at)

    @display(description=_("redeemed"), ordering="redeemed_at")
    def redeemed_on(self, code: RedeemCode) -> str:
        return moment(code.redeemed_at)

    def exported(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> list[RedeemCode]:
        """The chosen codes that can still be redeemed, oldest first, marked as exported; says how many were left out."""
        codes = list(queryset.filter(unused()).order_by("id")[:EXPORT_LIMIT])
        for start in range(0, len(codes), 500):
            RedeemCode.objects.filter(pk__in=[code.pk for code in codes[start : start + 500]]).update(exported_at=timezone.now())
        left_out = queryset.count() - len(codes)
        if left_out:
            text = ngettext("%d code that cannot be redeemed was left out.", "%d codes that cannot be redeemed were left out.", left_out)
            messages.warning(request, text % left_out)
        if codes:
            self.log_change(request, codes[0], f"exported {len(codes)}")
        return codes

    @admin.action(description=_("Export as TXT (one code a line)"), permissions=["export"])
    def export_text(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> HttpResponse | None:
        codes = self.exported(request, queryset)
        if not codes:
            return None
        return download("redeem-codes.txt", "text/plain; charset=utf-8", "".join(f"{code.code}\n" for code in codes))

    @admin.action(description=_("Export as CSV (for Excel)"), permissions=["export"])
    def export_csv(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> HttpResponse | None:
        codes = self.exported(request, queryset)
        if not codes:
            return None
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow(["code", "usd", "batch", "expires"])
        for code in codes:
            expires = code.expires_at.isoformat() if code.expires_at else ""
            writer.writerow([code.code, format_usd(code.amount), inert(code.batch), expires])
        return download("redeem-codes.csv", "text/csv; charset=utf-8", BOM + out.getvalue())

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> None:
        changed = queryset.filter(redeemed_at__isnull=True).update(enabled=False)
        messages.success(request, ngettext("%d code disabled.", "%d codes disabled.", changed) % changed)

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[RedeemCode]) -> None:
        changed = queryset.filter(redeemed_at__isnull=True).update(enabled=True)
        messages.success(request, ngettext("%d code enabled.", "%d codes enabled.", changed) % changed)


def download(name: str, kind: str, text: str) -> HttpResponse:
    """A file that no cache keeps."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return HttpResponse(text.encode(), content_type=kind, headers=headers)
