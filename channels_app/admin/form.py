"""The form of a channel. Keys, proxy and extra headers go in and never come out; a new address demands the secrets anew (docs/security.md 2)."""

import json
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from accounts.models import default_group
from channels_app import channels, registry
from channels_app.form_fields import JSONObjectField, NameListField, SecretTextField
from channels_app.models import Channel

if TYPE_CHECKING:
    ChannelModelForm = forms.ModelForm[Channel]
else:
    ChannelModelForm = forms.ModelForm

KEYS_LIMIT = 1000


def provider_choices() -> list[tuple[str, str]]:
    """Slug and name of every provider, by name."""
    return sorted(((slug, provider.name) for slug, provider in registry.PROVIDERS.items()), key=lambda pair: pair[1].lower())


def origin(provider: str, base_url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port that a channel's keys go to."""
    known = registry.PROVIDERS.get(provider)
    parts = urlsplit(base_url or (known.base_url if known else ""))
    return parts.scheme.lower(), (parts.hostname or "").lower(), parts.port


class ChannelForm(ChannelModelForm):
    """Its fields are all that a post can change. `seen_version` is that of the row when the form was drawn."""

    provider = forms.ChoiceField(label=_("provider"), choices=provider_choices, widget=UnfoldAdminSelectWidget())
    seen_version = forms.IntegerField(widget=forms.HiddenInput(), required=False)
    new_keys = SecretTextField(label=_("keys"), help_text=_("One a line."))
    keep_keys = forms.BooleanField(label=_("add to the saved keys"), required=False, help_text=_("Otherwise the new keys take their place."))
    model_names = NameListField(label=_("models"), required=False, help_text=_("Names that clients ask for, one a line or separated by commas."))
    mapping = JSONObjectField(
        label=_("model mapping"), required=False, texts=True, help_text=_('Name asked → name at the upstream: {"gpt-4o": "my-deployment"}.')
    )
    settings = JSONObjectField(label=_("provider settings"), required=False, help_text=_("A JSON object."))
    new_proxy = SecretTextField(label=_("outbound proxy"), max_length=500)
    new_headers = SecretTextField(label=_("extra headers"), max_length=20_000)
    drop_secrets = forms.BooleanField(label=_("forget the saved proxy and extra headers"), required=False)

    class Meta:
        model = Channel
        fields: ClassVar = [
            "provider", "name", "base_url", "model_names", "groups", "mapping", "priority", "weight", "enabled", "auto_disable",
            "system_prompt", "settings", "test_model", "remark",
        ]  # fmt: skip
        widgets: ClassVar = {"system_prompt": UnfoldAdminTextareaWidget(attrs={"rows": 3})}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        channel = self.instance
        self.before = (channel.provider, channel.base_url) if channel.pk else None
        if "seen_version" not in self.fields:
            return  # drawn for somebody who may only look
        self.initial["seen_version"] = channel.version
        if channel.pk:
            keep = _("Saved and never shown again; leave empty to keep it.")
            count = channel.keys.count()
            self.fields["new_keys"].help_text = _("One a line. %(count)d saved and never shown again: leave empty to keep.") % {"count": count}
            self.fields["new_proxy"].help_text = keep if channel.proxy else _("Empty: none. Such as socks5://user:password@host:1080.")
            self.fields["new_headers"].help_text = keep if channel.extra_headers else _('A JSON object: {"X-Team": "a"}.')
        else:
            self.initial.setdefault("groups", [default_group()])  # as the command has it: a channel without a group serves nobody
            self.fields["new_proxy"].help_text = _("Empty: none. Such as socks5://user:password@host:1080.")
            self.fields["new_headers"].help_text = _('A JSON object: {"X-Team": "a"}.')

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"].strip()
        if Channel.objects.filter(name=name, deleted_at__isnull=True).exclude(pk=self.instance.pk).exists():
            raise forms.ValidationError(_("Another channel has this name."))
        return name

    def clean_base_url(self) -> str:
        return channels.checked_url(self.cleaned_data["base_url"])

    def clean_new_keys(self) -> list[str]:
        """The keys entered, without repetitions."""
        keys = list(dict.fromkeys(line.strip() for line in self.cleaned_data["new_keys"].splitlines() if line.strip()))
        if len(keys) > KEYS_LIMIT:
            raise forms.ValidationError(_("At most %(limit)d keys."), params={"limit": KEYS_LIMIT})
        return channels.checked_keys(keys)

    def clean_new_headers(self) -> str:
        """A JSON object of texts, as text."""
        text: str = self.cleaned_data["new_headers"].strip()
        if not text:
            return ""
        headers = JSONObjectField(texts=True, required=False).clean(text)
        if any("\n" in value or "\r" in value or not name.isascii() or " " in name for name, value in headers.items()):
            raise forms.ValidationError(_("A header's name is ASCII without spaces, its value one line."))
        return json.dumps(headers)

    def clean_new_proxy(self) -> str:
        url: str = self.cleaned_data["new_proxy"].strip()
        if not url:
            return ""
        try:
            parts = urlsplit(url)
            fine = parts.scheme in {"http", "https", "socks5", "socks5h"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine or not url.isprintable():
            raise forms.ValidationError(_("Enter a proxy such as http://host:3128 or socks5://user:password@host:1080."))
        return url

    def clean_settings(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cleaned_data["settings"]
        provider = self.cleaned_data.get("provider", "")
        return channels.checked_settings(provider, found) if provider in registry.PROVIDERS else found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.before is not None:
            self.refuse_stale(cleaned)
            self.ask_secrets_again(cleaned)
        provider = registry.PROVIDERS.get(cleaned.get("provider", ""))
        if provider is not None and provider.needs_key:
            if not cleaned.get("base_url") and not provider.base_url and "base_url" not in self.errors:
                self.add_error("base_url", _("This provider has no address of its own: enter one."))
            if self.before is None and not cleaned.get("new_keys") and "new_keys" not in self.errors:
                self.add_error("new_keys", _("This provider needs a key."))
        if provider is not None and self.before is None and not cleaned.get("model_names"):
            cleaned["model_names"] = list(provider.models)  # as the command has it
        return cleaned

    def refuse_stale(self, cleaned: dict[str, Any]) -> None:
        """Somebody else saved since this form was drawn: their change must not be undone."""
        current = Channel.objects.filter(pk=self.instance.pk).values_list("version", flat=True).first()
        if cleaned.get("seen_version") != current:
            raise forms.ValidationError(_("Somebody else changed this channel since you opened it. Load the page again and repeat your change."))

    def ask_secrets_again(self, cleaned: dict[str, Any]) -> None:
        """A key goes to the host that it was saved for, and to no other."""
        if self.errors or origin(*self.before or ("", "")) == origin(cleaned["provider"], cleaned["base_url"]):
            return
        if self.instance.keys.exists() and not cleaned.get("new_keys"):
            self.add_error("new_keys", _("The address has changed: enter the keys again. Saved keys go to the host that they were saved for."))
        if cleaned.get("keep_keys"):
            self.add_error("keep_keys", _("The address has changed: the saved keys cannot be kept."))
        if self.instance.extra_headers and not cleaned.get("new_headers") and not cleaned.get("drop_secrets"):
            self.add_error("new_headers", _("The address has changed: enter the extra headers again, or have them forgotten."))
