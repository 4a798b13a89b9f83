"""Forms of people and groups. Each names its fields: what else is posted changes nothing (docs/security.md 7)."""

from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminDecimalFieldWidget

from accounts.models import PPM, Group, User

if TYPE_CHECKING:
    from django.contrib.auth.forms import UserCreationForm

    GroupModelForm = forms.ModelForm[Group]
    NewUserBase = UserCreationForm[User]
else:
    from unfold.forms import UserCreationForm

    GroupModelForm = forms.ModelForm
    NewUserBase = UserCreationForm


class RatioField(forms.DecimalField):
    """Parts per million, shown and entered as the factor that people speak of: 1, 0.8, 1.5."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("widget", UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}))
        super().__init__(min_value=Decimal(0), max_value=Decimal(1000), decimal_places=6, **options)

    def prepare_value(self, value: Any) -> Any:
        return f"{(Decimal(value) / PPM).normalize():f}" if isinstance(value, int) else value

    def clean(self, value: Any) -> Any:
        factor = super().clean(value)
        return None if factor is None else int(factor * PPM)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), data)


class GroupForm(GroupModelForm):
    """A group; its price ratio as a factor."""

    ratio_ppm = RatioField(label=_("price ratio"), help_text=_("Charges are multiplied by it: 1 is the list price, 0.5 is half of it, 0 is free."))

    class Meta:
        model = Group
        fields: ClassVar = ["name", "description", "ratio_ppm"]

    def clean_name(self) -> str:
        """Requests name the group `default`; it keeps its name."""
        name: str = self.cleaned_data["name"]
        if self.instance.pk and self.initial.get("name") == "default" and name != "default":
            raise forms.ValidationError(_("The group “default” keeps its name: new users belong to it."))
        return name


class NewUserForm(NewUserBase):
    """A new person with a password; the rest is entered afterwards."""

    class Meta:
        model = User
        fields = ("username", "email", "group")
