"""What other apps put into the admin: schedules in our theme; second factors and verified addresses not at all.

allauth's pages would let staff change the second factor of anybody, whatever the rank: accounts/admin.py has an action that asks.
"""

from typing import Any

from allauth.account import admin as account_admin
from allauth.account.models import EmailAddress
from allauth.mfa import admin as mfa_admin
from allauth.mfa.models import Authenticator
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django_celery_beat import admin as schedule_admin
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, PeriodicTasks, SolarSchedule

from accounts.admin import SuperusersOnly
from accounts.staff_admin import StaffAdmin

REGISTERED_BY_IMPORT = (account_admin, mfa_admin, schedule_admin)  # imported here first, so that it can be taken back

for model in (Authenticator, EmailAddress, ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(model)


@admin.register(PeriodicTask)
class ScheduleAdmin(SuperusersOnly, StaffAdmin):
    """When the jobs run. Which code a job is stands in the code and in no form."""

    list_display = ("name", "enabled", "every", "last_run_at", "total_run_count", "description")
    list_filter = ("enabled",)
    list_select_related = ("interval", "crontab")
    search_fields = ("name",)
    ordering = ("name",)
    fields = ("name", "task", "enabled", "interval", "crontab", "last_run_at", "total_run_count", "description")
    readonly_fields = ("name", "task", "last_run_at", "total_run_count", "description")
    actions = ("enable", "disable")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.display(description=_("schedule"))
    def every(self, task: Any) -> str:
        return str(task.interval or task.crontab or "–")

    def switch(self, queryset: QuerySet[Any], on: bool) -> int:
        """Switches the chosen jobs and tells the scheduler."""
        changed = queryset.update(enabled=on)
        PeriodicTasks.update_changed()
        return changed

    @admin.action(description=_("Enable"))
    def enable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        changed = self.switch(queryset, True)
        messages.success(request, ngettext("%d schedule enabled.", "%d schedules enabled.", changed) % changed)

    @admin.action(description=_("Disable"))
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        changed = self.switch(queryset, False)
        messages.success(request, ngettext("%d schedule disabled.", "%d schedules disabled.", changed) % changed)


@admin.register(IntervalSchedule)
class IntervalAdmin(SuperusersOnly, StaffAdmin):
    """Every so often."""


@admin.register(CrontabSchedule)
class CrontabAdmin(SuperusersOnly, StaffAdmin):
    """At these times."""

    list_display = ("__str__", "human_readable")
