"""The page of a user's or a token's budgets in the admin."""

from typing import Any

from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _

from accounts.ranks import acting
from accounts.staff_admin import StaffAdmin
from billing.budget_form import BudgetForm


def budget_page(admin: StaffAdmin, request: HttpRequest, row: Model, owner: str, title: Any) -> HttpResponse:
    """Shows the budgets, or sets them, notes it in the row's history and goes back to the row. Who may change the row was asked before."""
    form = BudgetForm(owner, row.pk, request.POST or None)
    if request.method == "POST" and form.is_valid():
        if changed := form.save(acting(request), "admin"):
            admin.log_change(request, row, [{"changed": {"name": _("budget"), "object": str(row), "fields": changed}}])
        messages.success(request, _("The budgets are set; running relays know them within a second."))
        return redirect(reverse(f"admin:{admin.opts.app_label}_{admin.opts.model_name}_change", args=[row.pk]))
    intro = _("What may be spent in each period, beside balance and limit. An empty field is no budget. Days begin at midnight, weeks on Monday.")
    texts = {"title": title, "intro": intro, "submit_text": _("Set the budgets")}
    context = {**admin.admin_site.each_context(request), "opts": admin.opts, "original": row, "form": form, **texts}
    return TemplateResponse(request, "admin/act.html", context)
