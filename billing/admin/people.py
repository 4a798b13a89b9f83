"""People with their wallets: what they have left, what they used, and the act of crediting. Registers User."""

import uuid
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.admin import UserAdmin
from accounts.models import User
from accounts.ranks import acting, may_act_on
from billing import wallets
from billing.display import moment, usd, usd_cell, usd_short
from billing.figures import with_figures
from billing.forms import UsdField
from billing.models import Kind


class CreditForm(forms.Form):
    """An amount for a wallet; the hidden key makes a form that is sent twice harmless."""

    amount = UsdField(signed=True, label=_("amount"), help_text=_("US dollars; less than nothing takes money away."))
    reason = forms.CharField(
        label=_("reason"), max_length=255, required=False, widget=UnfoldAdminTextInputWidget(), help_text=_("The user sees it too.")
    )
    key = forms.UUIDField(widget=forms.HiddenInput(), initial=uuid.uuid4)

    def clean_amount(self) -> int:
        amount: int = self.cleaned_data["amount"]
        if amount == 0:
            raise forms.ValidationError(_("Enter an amount other than nothing."))
        return amount


@admin.register(User)
class WalletUserAdmin(UserAdmin):
    """The only way to money here is the act of crediting: no field of the form holds any."""

    list_display: Any = ("person", "group", "state", "remaining_usd", "used_usd", "seen")
    actions_detail = ("credit",)
    readonly_fields: ClassVar[Any] = (*UserAdmin.readonly_fields, "remaining_usd", "used_usd")
    fieldsets: ClassVar[Any] = (
        UserAdmin.fieldsets[0],
        (_("Wallet"), {"fields": (("remaining_usd", "used_usd"),)}),
        *UserAdmin.fieldsets[1:],
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return with_figures(super().get_queryset(request), Kind.WALLET)

    @display(description=_("balance"))
    def remaining_usd(self, user: User) -> str:
        return str(_("unlimited")) if user.unlimited else usd_cell(getattr(user, "remaining", 0))

    @display(description=_("used"))
    def used_usd(self, user: User) -> str:
        return usd_cell(getattr(user, "used", 0))

    @display(description=_("last sign-in"), ordering="last_login")
    def seen(self, user: User) -> str:
        return moment(user.last_login)

    def has_credit_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Staff with the right to add ledger entries, on wallets of lower ranks."""
        if not request.user.has_perm("billing.add_ledgerentry"):
            return False
        target = User.objects.filter(pk=object_id).first() if object_id and str(object_id).isascii() and str(object_id).isdigit() else None
        return target is None or may_act_on(request.user, target)

    @action(description=_("Credit the wallet"), icon="add_card", url_path="credit", permissions=["credit"])
    def credit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_credit_permission(request, object_id):
            raise PermissionDenied
        form = CreditForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            cleaned = form.cleaned_data
            try:
                wallets.credit(user, cleaned["amount"], acting(request), cleaned["reason"], f"admin:{cleaned['key']}")
            except ValueError as error:
                form.add_error("amount", str(error))
            else:
                self.log_change(request, user, [{"changed": {"name": str(_("wallet")), "object": usd(cleaned["amount"]), "fields": ["balance"]}}])
                messages.success(request, _("%(amount)s credited to %(user)s.") % {"amount": usd(cleaned["amount"]), "user": user})
                return redirect(reverse("admin:accounts_user_change", args=[user.pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": user,
            "title": _("Credit the wallet of %(user)s") % {"user": user},
            "intro": _("The balance is %(amount)s.") % {"amount": usd_short(getattr(user, "remaining", 0))},
            "form": form,
            "submit_text": _("Credit"),
        }
        return TemplateResponse(request, "admin/act.html", context)
