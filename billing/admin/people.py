"""People with their wallets: what they have left, what they used, and the acts on them. Registers User."""

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext_lazy as _
from unfold.decorators import action, display

from accounts.admin import UserAdmin
from accounts.models import User
from accounts.ranks import acting, may_act_on
from billing import acts, wallets
from billing.admin.acts import AmountForm, ExplainedForm, act_page
from billing.admin.budgets import budget_page
from billing.admin.statements import statement_page
from billing.display import moment, usd_cell, usd_short
from billing.figures import with_figures
from billing.models import Kind, LedgerEntry


@admin.register(User)
class WalletUserAdmin(UserAdmin):
    """The only way to money here are acts, each explained and once a reference: no field of the form holds any."""

    list_display: Any = ("person", "group", "state", "remaining_usd", "used_usd", "seen")
    actions_detail = ("statement", "budgets", "credit", "debit", "write_off")
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

    def wallet_page(
        self, request: HttpRequest, object_id: str, form: ExplainedForm, title: Any, submit: Any, act: Callable[..., LedgerEntry]
    ) -> HttpResponse:
        """The page of an act on a user's wallet; `act` takes the user and the form's clean values."""
        user = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_credit_permission(request, object_id):
            raise PermissionDenied
        texts = {
            "title": title % {"user": user},
            "intro": _("The balance is %(amount)s.") % {"amount": usd_short(getattr(user, "remaining", 0))},
            "submit_text": submit,
        }
        return act_page(self, request, user, form, texts, lambda cleaned: act(user, cleaned))

    @action(description=_("Credit the wallet"), icon="add_card", url_path="credit", permissions=["credit"])
    def credit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def act(user: User, cleaned: dict[str, Any]) -> LedgerEntry:
            return wallets.credit(user, cleaned["amount"], acting(request), cleaned["reason"], cleaned["reference"])

        return self.wallet_page(request, object_id, AmountForm(request.POST or None), _("Credit the wallet of %(user)s"), _("Credit"), act)

    @action(description=_("Debit the wallet"), icon="credit_card_off", url_path="debit", permissions=["credit"])
    def debit(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def act(user: User, cleaned: dict[str, Any]) -> LedgerEntry:
            adjustment = LedgerEntry.Act.ADJUSTMENT
            return wallets.credit(user, -cleaned["amount"], acting(request), cleaned["reason"], cleaned["reference"], adjustment)

        return self.wallet_page(request, object_id, AmountForm(request.POST or None), _("Debit the wallet of %(user)s"), _("Debit"), act)

    @action(description=_("Write off"), icon="ink_eraser", url_path="write-off", permissions=["credit"])
    def write_off(self, request: HttpRequest, object_id: str) -> HttpResponse:
        def act(user: User, cleaned: dict[str, Any]) -> LedgerEntry:
            return acts.write_off(user, author=acting(request), reason=cleaned["reason"], reference=cleaned["reference"])

        title = _("Bring the wallet of %(user)s from below zero to zero")
        return self.wallet_page(request, object_id, ExplainedForm(request.POST or None), title, _("Write off"), act)

    def has_budgets_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whoever may change the user."""
        user = self.get_object(request, str(object_id)) if object_id else None
        return self.has_change_permission(request, user)

    @action(description=_("Budgets"), icon="calendar_month", url_path="budgets", permissions=["budgets"])
    def budgets(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = get_object_or_404(self.get_queryset(request), pk=object_id)
        if not self.has_budgets_permission(request, object_id):
            raise PermissionDenied
        return budget_page(self, request, user, "user", _("Budgets of %(user)s") % {"user": user})

    def has_statement_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Staff who may see ledger entries. Not by its name alone: unfold asks the database for that at the system checks, before there is one."""
        return self.has_view_permission(request) and request.user.has_perm("billing.view_ledgerentry")

    @action(description=_("Statement"), icon="receipt_long", url_path="statement", permissions=["statement"])
    def statement(self, request: HttpRequest, object_id: str) -> HttpResponseBase:
        user = get_object_or_404(self.get_queryset(request), pk=object_id)
        title = _("Statement of the wallet of %(user)s") % {"user": user}
        return statement_page(self, request, user, Kind.WALLET, title)
