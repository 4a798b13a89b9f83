"""The form of a user's or a token's budgets, in the admin and in the portal: what is left of each stands beside its field."""

from typing import Any

from django import forms
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from billing.budgets import Standing, set_budgets, standings
from billing.display import usd
from billing.forms import UsdField
from billing.periods import PERIODS
from billing.wallets import Person

LABELS = {"day": _("per day"), "week": _("per week"), "month": _("per month")}


class BudgetForm(forms.Form):
    """A field a period, in US dollars; an empty one is no budget. `owner` is "user" or "token"; `widget` other than the admin's."""

    def __init__(self, owner: str, subject: int, data: Any = None, widget: type[forms.Widget] | None = None) -> None:
        super().__init__(data)
        self.owner = owner
        self.subject = subject
        known = {standing.period: standing for standing in standings(owner, subject)}
        looks: dict[str, Any] = {"widget": widget(attrs={"inputmode": "decimal", "autocomplete": "off"})} if widget else {}
        for period in PERIODS:
            standing = known.get(period)
            self.fields[period] = UsdField(
                label=LABELS[period],
                required=False,
                initial=standing.limit if standing else None,
                help_text=explained(standing) if standing else pgettext_lazy("budget", "None. Enter US dollars to set one."),
                **looks,
            )

    def save(self, author: Person, reason: str) -> list[str]:
        """Sets what was entered; gives back the periods that changed."""
        return set_budgets(self.owner, self.subject, {period: self.cleaned_data[period] for period in PERIODS}, author, reason)


def explained(standing: Standing) -> Any:
    """What was spent of a budget, and when it begins anew."""
    ends = date_format(timezone.localtime(standing.ends), "Y-m-d H:i")
    return _("%(used)s of it used; it begins anew on %(ends)s.") % {"used": usd(standing.used), "ends": ends}
