"""The page of a wallet's or a token's statement in the admin."""

from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse

from accounts.staff_admin import StaffAdmin
from billing.models import Balance
from billing.statement_view import csv_response, page_context


def statement_page(admin: StaffAdmin, request: HttpRequest, row: Model, kind: str, title: Any) -> HttpResponseBase:
    """Lines by the filters of the address, or with `format=csv` the file. Whoever may see the row may see it: it changes nothing."""
    balance = Balance.objects.filter(kind=kind, subject=row.pk, period="").first()
    if request.GET.get("format") == "csv":
        return csv_response(request, balance, inside=True)
    context = {**admin.admin_site.each_context(request), "opts": admin.opts, "original": row, "title": title, "inside": True}
    return TemplateResponse(request, "admin/statement.html", {**context, **page_context(balance, request.GET)})
