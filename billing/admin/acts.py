"""Acts on money as pages: a form with a reason and a reference, asked once more by nobody, and done once a reference however often it is sent."""

import uuid
from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.staff_admin import StaffAdmin
from billing import acts
from billing.display import usd
from billing.forms import UsdField
from billing.models import LedgerEntry, LimitChange


def new_reference() -> str:
    """A reference that nobody has used."""
    return str(uuid.uuid4())


class ExplainedForm(forms.Form):
    """Why, and the reference that makes a form that is sent twice harmless."""

    reason = forms.CharField(label=gettext_lazy("reason"), max_length=acts.REASON_LIMIT, widget=UnfoldAdminTextInputWidget())
    reference = forms.CharField(
        label=gettext_lazy("reference"),
        max_length=acts.REFERENCE_LIMIT,
        initial=new_reference,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "off", "spellcheck": "false"}),
        help_text=gettext_lazy("The act is done once a reference. Leave it, or enter your own, such as the number of a bank transfer."),
    )

    def clean_reference(self) -> str:
        try:
            return acts.checked_reference(self.cleaned_data["reference"])
        except ValueError as error:
            raise forms.ValidationError(str(error)) from None


class AmountForm(ExplainedForm):
    """An act of an amount."""

    amount = UsdField(positive=True, label=gettext_lazy("amount"), help_text=gettext_lazy("US dollars."))
    field_order: Sequence[str] = ("amount", "reason", "reference")


def act_page(
    admin: StaffAdmin,
    request: HttpRequest,
    row: Model,
    form: forms.Form,
    texts: dict[str, Any],
    act: Callable[[dict[str, Any]], LedgerEntry | LimitChange],
) -> HttpResponse:
    """Shows the form, or does the act and goes back to the row. `texts`: `title`, `intro`, `submit_text`. A refusal stands in the form."""
    if request.method == "POST" and form.is_valid():
        try:
            done = act(form.cleaned_data)
        except ValueError as error:
            form.add_error(None, str(error))
        else:
            note(admin, request, row, done)
            return redirect(reverse(f"admin:{admin.opts.app_label}_{admin.opts.model_name}_change", args=[row.pk]))
    context = {**admin.admin_site.each_context(request), "opts": admin.opts, "original": row, "form": form, **texts}
    return TemplateResponse(request, "admin/act.html", context)


def note(admin: StaffAdmin, request: HttpRequest, row: Model, done: LedgerEntry | LimitChange) -> None:
    """Says what was done, and writes it into the row's history: once, as the act."""
    what = {"act": done.get_act_display(), "amount": usd(done.amount)}
    if done.repeated:
        messages.warning(request, _("This was done already under that reference (%(act)s, %(amount)s); nothing was moved again.") % what)
        return
    admin.log_change(request, row, [{"changed": {"name": what["act"], "object": what["amount"], "fields": ["balance"]}}])
    messages.success(request, _("Done: %(act)s, %(amount)s.") % what)
