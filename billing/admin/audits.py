"""Audits and changes of limits, for reading only."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display

from accounts.staff_admin import ReadOnlyAdmin
from billing.display import usd_cell
from billing.models import AuditRun, LimitChange


@admin.register(AuditRun)
class AuditRunAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "started_at", "finished_at", "ok", "charges", "found", "below_zero", "missing", "alarmed_at")
    list_filter = ("ok",)
    ordering = ("-id",)

    @display(description=_("missing in them"), ordering="below_zero_sum")
    def missing(self, run: AuditRun) -> str:
        return usd_cell(run.below_zero_sum)


@admin.register(LimitChange)
class LimitChangeAdmin(ReadOnlyAdmin):
    list_display = ("at", "balance", "act", "amount_usd", "taken_from", "author", "reason")
    list_select_related = ("balance", "taken_from", "author")
    list_filter = (("act", ChoicesDropdownFilter),)
    search_fields = ("reason", "=reference")
    ordering = ("-id",)

    @display(description=_("amount"), ordering="amount")
    def amount_usd(self, change: LimitChange) -> str:
        return usd_cell(change.amount)
