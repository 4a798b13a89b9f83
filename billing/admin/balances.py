"""Balances and the entries that people made, for reading only: money moves through acts (billing/wallets.py, billing/redeem.py)."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Case, CharField, QuerySet, When
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.decorators import display

from accounts.staff_admin import ReadOnlyAdmin
from billing.display import moment, name_of, usd_cell
from billing.models import Balance, Kind, LedgerEntry

USER_KINDS = (Kind.WALLET, Kind.USER_DAY, Kind.USER_WEEK, Kind.USER_MONTH)


def owner_name(prefix: str = "") -> Case:
    """The user's or the token's name of a balance, as an annotation."""
    return Case(
        When(**{f"{prefix}kind__in": USER_KINDS}, then=name_of("accounts.User", f"{prefix}subject", "username")),
        default=name_of("gateway.Token", f"{prefix}subject"),
        output_field=CharField(),
    )


@admin.register(Balance)
class BalanceAdmin(ReadOnlyAdmin):
    list_display = ("kind", "owner", "period", "available_usd", "limit_usd", "created_at")
    list_filter = (("kind", ChoicesDropdownFilter),)
    search_fields = ("subject__exact",)
    search_help_text = _("A user's or token's id.")
    ordering = ("-id",)
    fields = ("kind", "owner", "subject", "period", "available_usd", "limit_usd", "recall_at", "last_cents", "created_at")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Balance]:
        rows: QuerySet[Balance] = super().get_queryset(request)
        return rows.annotate(owner_name=owner_name())

    @display(description=_("owner"))
    def owner(self, balance: Balance) -> str:
        return getattr(balance, "owner_name", None) or f"#{balance.subject}"

    @display(description=_("available (not leased)"), ordering="available")
    def available_usd(self, balance: Balance) -> str:
        return usd_cell(balance.available)

    @display(description=_("limit"), ordering="limit")
    def limit_usd(self, balance: Balance) -> str:
        return usd_cell(balance.limit)


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ("when", "owner", "kind_of_act", "amount_usd", "author", "reason")
    list_select_related = ("author", "balance")
    list_filter: ClassVar[Any] = (("act", ChoicesDropdownFilter), ("at", RangeDateTimeFilter))
    search_fields = ("reason", "=idempotency_key")
    ordering = ("-id",)
    fields = ("at", "owner", "act", "amount_usd", "author", "reason", "idempotency_key", "charge")
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerEntry]:
        rows: QuerySet[LedgerEntry] = super().get_queryset(request)
        return rows.annotate(owner_name=owner_name("balance__"))

    @display(description=_("at"), ordering="at")
    def when(self, entry: LedgerEntry) -> str:
        return moment(entry.at, seconds=True)

    @display(description=_("wallet of"))
    def owner(self, entry: LedgerEntry) -> str:
        return getattr(entry, "owner_name", None) or f"#{entry.balance.subject}"

    @display(
        description=_("act"),
        ordering="act",
        label={"topup": "success", "redeem": "success", "gift": "info", "refund": "warning", "adjustment": "warning"},
    )
    def kind_of_act(self, entry: LedgerEntry) -> tuple[str, str]:
        return entry.act, entry.get_act_display()

    @display(description=_("amount"), ordering="amount")
    def amount_usd(self, entry: LedgerEntry) -> str:
        return usd_cell(entry.amount)
