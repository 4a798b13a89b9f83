"""What relay processes hold and report, for reading only."""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _
from unfold.decorators import display

from accounts.staff_admin import ReadOnlyAdmin
from billing.display import usd_cell
from billing.models import Checkpoint, ClosedMonth, Counter, Hold, Lease, Process


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    list_display = ("boot_id", "host", "slot", "beat", "state", "journal_pending", "started_at")
    list_filter = ("fenced",)
    search_fields = ("boot_id", "host")
    ordering = ("-id",)

    @display(description=_("state"), ordering="fenced", label={"fenced": "danger", "alive": "success"})
    def state(self, process: Process) -> tuple[str, object]:
        return ("fenced", _("fenced")) if process.fenced else ("alive", _("not fenced"))


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdmin):
    list_display = ("boot_id", "balance", "remaining_usd", "recall_seen")
    list_select_related = ("balance",)
    search_fields = ("=boot_id",)
    ordering = ("-id",)

    @display(description=_("remaining"), ordering="remaining")
    def remaining_usd(self, lease: Lease) -> str:
        return usd_cell(lease.remaining)


@admin.register(Counter)
class CounterAdmin(ReadOnlyAdmin):
    list_display = ("kind", "subject", "slot", "amount_usd", "requests")
    list_filter = ("kind",)
    search_fields = ("subject__exact",)
    ordering = ("kind", "subject", "slot")

    @display(description=_("used"), ordering="amount")
    def amount_usd(self, counter: Counter) -> str:
        return usd_cell(counter.amount)


@admin.register(Hold)
class HoldAdmin(ReadOnlyAdmin):
    list_display = ("hold_id", "balance", "amount_usd", "job", "deadline")
    list_select_related = ("balance",)
    search_fields = ("=job",)
    ordering = ("-id",)

    @display(description=_("amount"), ordering="amount")
    def amount_usd(self, hold: Hold) -> str:
        return usd_cell(hold.amount)


@admin.register(Checkpoint)
class CheckpointAdmin(ReadOnlyAdmin):
    list_display = ("month", "kind", "subject", "charges_usd", "requests")
    list_filter = ("kind",)
    search_fields = ("subject__exact",)
    ordering = ("-month", "kind", "subject")

    @display(description=_("charges"))
    def charges_usd(self, row: Checkpoint) -> str:
        return usd_cell(row.charges)


@admin.register(ClosedMonth)
class ClosedMonthAdmin(ReadOnlyAdmin):
    list_display = ("month", "closed_at", "changes", "archived_at", "archive", "rows", "pruned_at", "emptied_at")
    ordering = ("-month",)
