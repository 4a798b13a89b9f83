"""Forms of tokens. Operators and owners have different ones: an owner cannot choose the group, whose ratio is a price."""

import ipaddress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget

from billing.admin.acts import AmountForm
from billing.forms import UsdField
from billing.models import Balance, Kind
from channels_app.form_fields import NameListField
from gateway.models import Token

if TYPE_CHECKING:
    TokenModelForm = forms.ModelForm[Token]
else:
    TokenModelForm = forms.ModelForm


class SubnetListField(NameListField):
    """Addresses and networks, one a line or separated by commas; its clean value is a list of their canonical texts."""

    def clean(self, value: Any) -> Any:
        networks = []
        for text in super().clean(value):
            try:
                networks.append(str(ipaddress.ip_network(text, strict=False)))
            except ValueError:
                raise forms.ValidationError(_("“%(text)s” is no address or network such as 192.0.2.0/24."), params={"text": text[:60]}) from None
        return networks


class TokenRules(TokenModelForm):
    """What both forms ask: a name unique a user, an end in the future, models and subnets."""

    allowed_models = NameListField(
        label=_("allowed models"), required=False, help_text=_("One a line or separated by commas. Empty: all of its group.")
    )
    allowed_subnets = SubnetListField(
        label=_("allowed subnets"), required=False, help_text=_("Such as 192.0.2.0/24, one a line. Empty: from anywhere.")
    )

    def owner_id(self) -> int:
        """The user whose token it is or will be; 0 where none was chosen."""
        raise NotImplementedError

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if not name or not name.isprintable():
            raise forms.ValidationError(_("Enter a name of printable characters."))
        return name

    def clean_expires_at(self) -> Any:
        expires = self.cleaned_data["expires_at"]
        if expires is not None and expires <= timezone.now() and "expires_at" in self.changed_data:
            raise forms.ValidationError(_("That moment has passed already."))
        return expires

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        taken = Token.objects.filter(user_id=self.owner_id(), name=cleaned.get("name"), deleted_at__isnull=True).exclude(pk=self.instance.pk)
        if cleaned.get("name") and taken.exists():
            self.add_error("name", _("This user has a token of this name already."))
        return cleaned


class IssueForm(TokenRules):
    """An operator's form for a new token of a user."""

    limit = UsdField(label=_("limit"), required=False, help_text=_("US dollars that it may spend. Empty only for an unlimited token."))

    class Meta:
        model = Token
        fields: ClassVar = ["user", "name", "unlimited", "allowed_models", "allowed_subnets", "group", "expires_at"]
        field_classes: ClassVar = {"expires_at": forms.SplitDateTimeField}

    def owner_id(self) -> int:
        user = self.cleaned_data.get("user")
        return user.pk if user else 0

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if "limit" not in self.errors and (cleaned.get("limit") is None) != bool(cleaned.get("unlimited")):
            self.add_error("limit", _("Enter a limit, or tick “unlimited”: one of the two."))
        return cleaned


class TokenForm(TokenRules):
    """An operator's form for a token that exists. Money moves only where a new remaining limit is entered, whatever was spent meanwhile."""

    new_remaining = UsdField(
        label=_("new remaining limit"), required=False, help_text=_("US dollars it may still spend from now on. Empty: as it is.")
    )

    class Meta:
        model = Token
        fields: ClassVar = ["name", "enabled", "unlimited", "allowed_models", "allowed_subnets", "group", "expires_at"]
        field_classes: ClassVar = {"expires_at": forms.SplitDateTimeField}

    def owner_id(self) -> int:
        return int(self.instance.user_id)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("unlimited") and cleaned.get("new_remaining") is not None:
            self.add_error("new_remaining", _("An unlimited token has no limit: leave it empty, or untick “unlimited”."))
        elif not cleaned.get("unlimited") and cleaned.get("new_remaining") is None and "new_remaining" not in self.errors and not self.has_limit():
            self.add_error("new_remaining", _("Enter what it may spend: this token has had no limit yet."))
        return cleaned

    def has_limit(self) -> bool:
        """Whether a limit was ever set."""
        return Balance.objects.filter(kind=Kind.TOKEN, subject=self.instance.pk, period="").exists()


class OwnTokenForm(TokenRules):
    """A user's form for a token of his own; `owner` is whoever is signed in, never a field."""

    limit = UsdField(
        label=_("limit"),
        required=False,
        positive=True,
        help_text=_("US dollars. Empty: it may spend your whole balance."),
        widget=forms.TextInput(attrs={"inputmode": "decimal", "placeholder": "5.00"}),
    )
    allowed_models = NameListField(
        label=_("allowed models"),
        required=False,
        help_text=_("One a line or separated by commas. Empty: all."),
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    allowed_subnets = SubnetListField(
        label=_("allowed subnets"),
        required=False,
        help_text=_("Such as 192.0.2.0/24. Empty: from anywhere."),
        widget=forms.Textarea(attrs={"rows": 2}),
    )

    class Meta:
        model = Token
        fields: ClassVar = ["name", "expires_at", "allowed_models", "allowed_subnets"]
        widgets: ClassVar = {"expires_at": forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")}

    def __init__(self, owner_id: int, *args: Any, **kwargs: Any) -> None:
        self.owner = owner_id
        super().__init__(*args, **kwargs)

    def owner_id(self) -> int:
        return self.owner


class TransferForm(AmountForm):
    """A part of a token's limit for another token of the same user."""

    target = forms.ModelChoiceField(Token.objects.none(), label=_("to the token"), widget=UnfoldAdminSelectWidget())
    field_order = ("target", "amount", "reason", "reference")

    def __init__(self, source: Token, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        others = Token.objects.filter(user_id=source.user_id, unlimited=False, deleted_at__isnull=True).exclude(pk=source.pk)
        cast("forms.ModelChoiceField[Token]", self.fields["target"]).queryset = others.order_by("name")
