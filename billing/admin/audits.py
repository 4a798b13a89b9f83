"""Audits and changes of limits, for reading only; an audit can be asked for."""

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from kombu.exceptions import OperationalError
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import action, display

from accounts.ranks import acting
from accounts.staff_admin import ReadOnlyAdmin
from billing.display import usd_cell
from billing.models import AuditRun, LimitChange
from billing.tasks import requested_audit
from billing.wallets import plain


@admin.register(AuditRun)
class AuditRunAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "started_at", "finished_at", "ok", "charges", "found", "below_zero", "missing", "alarmed_at")
    list_filter = ("ok",)
    ordering = ("-id",)

    actions_list = ("run_now",)

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Staff with the right to add audits."""
        return request.user.has_perm("billing.add_auditrun")

    @action(description=_("Run the audit now"), icon="play_arrow", url_path="run", permissions=["run"])
    def run_now(self, request: HttpRequest) -> HttpResponse:
        """A post makes the row and hands it to the worker; the page of audits shows what comes of it."""
        if request.method == "POST":
            run = AuditRun.objects.create(requested_by=acting(request))
            try:
                requested_audit.delay(run.pk)
            except OperationalError as error:
                run.error, run.finished_at = plain(str(error))[:255] or type(error).__name__, timezone.now()
                run.save(update_fields=["error", "finished_at"])
                messages.error(request, _("The task queue does not answer: the audit was not started."))
            else:
                messages.success(request, _("The audit is asked for; its result will stand here."))
            return redirect("admin:billing_auditrun_changelist")
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Run the audit now"),
            "intro": _("Everything is recomputed in one snapshot, beside the running server. A difference raises an alarm."),
            "submit_text": _("Run"),
        }
        return TemplateResponse(request, "admin/act.html", context)

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
