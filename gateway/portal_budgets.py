"""The budgets of a user's own tokens. Another's id is a 404; the user's own budgets are the operator's to set."""

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from billing.budget_form import BudgetForm
from gateway.models import Token
from gateway.portal import signed_in


@login_required
@require_http_methods(["GET", "POST"])
def token_budgets(request: HttpRequest, token_id: int) -> HttpResponse:
    """What a token may spend in a day, a week and a month."""
    user = signed_in(request)
    token = get_object_or_404(Token, pk=token_id, user=user, deleted_at__isnull=True)
    form = BudgetForm("token", token.pk, request.POST or None, widget=forms.TextInput)
    if request.method == "POST" and form.is_valid():
        form.save(user, "portal")
        messages.success(request, _("The budgets of “%(name)s” are set.") % {"name": token.name})
        return redirect("portal:tokens")
    return render(request, "portal/budgets.html", {"token": token, "form": form})
