"""What is done to channels: added, enabled, disabled, given keys, found by name or id. Control plane.

A key goes to its channel's saved host only, so whoever changes the host enters the keys again (security: a channel's key and its host).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.encryption import digest
from accounts.models import Group
from channels_app.models import Channel, ChannelKey, ChannelState
from channels_app.registry import PROVIDERS
from outbound.guard import Guard
from outbound.relay_transport import AIOHTTP
from outbound.transport import AddressRefused, Timeouts

HINT_LENGTH = 4
KEY_LENGTH = 16_384  # a service account's JSON on one line is the longest
LONGEST_TIMEOUT = 86_400  # seconds


def add_channel(
    provider: str,
    name: str,
    *,
    base_url: str = "",
    keys: Sequence[str] = (),
    models: Sequence[str] = (),
    groups: Sequence[Group] = (),
    mapping: Mapping[str, str] | None = None,
    priority: int = 0,
    weight: int = 1,
    settings: Mapping[str, Any] | None = None,
    test_model: str = "",
) -> Channel:
    """A new, enabled channel. Without models it gets the provider's own. ValidationError says what is wrong."""
    known = PROVIDERS.get(provider)
    if known is None:
        raise ValidationError(_("There is no provider “%(slug)s”; there are: %(known)s.") % {"slug": provider, "known": ", ".join(sorted(PROVIDERS))})
    wanted = checked_keys(keys)
    if known.needs_key and not wanted:
        raise ValidationError(_("This provider needs a key."))
    channel = Channel(
        provider=provider,
        name=name.strip(),
        base_url=checked_url(base_url, required=not known.base_url and known.needs_key),
        model_names=list(dict.fromkeys(model.strip() for model in models if model.strip())) or list(known.models),
        mapping=checked_mapping(mapping or {}),
        priority=priority,
        weight=weight,
        settings=checked_settings(provider, settings or {}),
        test_model=test_model,
    )
    channel.full_clean()
    with transaction.atomic():
        channel.save()
        channel.groups.set(groups)
        set_keys(channel, wanted)
    return channel


def checked_url(base_url: str, required: bool = False) -> str:
    """A base URL without a slash at its end: http or https, a host, no user name, no link-local or metadata address. ValidationError."""
    url = base_url.strip().rstrip("/")
    if not url:
        if required:
            raise ValidationError(_("This provider needs a base URL."))
        return ""
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or not url.isprintable() or " " in url or parts.username or parts.password or parts.query or parts.fragment:
        raise ValidationError(_("The base URL must be an address such as https://api.openai.com/v1, without user name, query or fragment."))
    try:
        Guard("channel").check_url(url)
    except AddressRefused:
        raise ValidationError(_("No request may go to this address: it is link-local or a metadata service.")) from None
    return url


def checked_keys(keys: Sequence[str]) -> list[str]:
    """Keys without blanks around them. ValidationError: a line end in one would end the header that it is sent in."""
    found = [key.strip() for key in keys if key.strip()]
    if any(len(key) > KEY_LENGTH or not key.isprintable() for key in found):
        raise ValidationError(_("A key is at most 16,384 printable characters on one line."))
    return found


def checked_mapping(mapping: Mapping[str, Any]) -> dict[str, str]:
    """{asked: name at the upstream}. ValidationError for anything but texts."""
    if not all(isinstance(text, str) and text for pair in mapping.items() for text in pair):
        raise ValidationError(_('A model mapping is a JSON object of names: {"asked": "name at the upstream"}.'))
    return dict(mapping)


def checked_settings(provider: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A provider's settings. ValidationError for one that it does not know (it would silently do nothing), and for timeouts that are none."""
    known = PROVIDERS[provider].setting_names
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValidationError(_("%(provider)s knows no setting “%(name)s”; it knows: %(known)s.") % {
            "provider": PROVIDERS[provider].name, "name": unknown[0][:60], "known": ", ".join(known) or "–",
        })  # fmt: skip
    if "timeouts" in settings and not _are_timeouts(settings["timeouts"]):
        raise ValidationError(
            _(
                "Timeouts are seconds, or null for no limit: "
                '{"timeouts": {"connect": 10, "first": 120, "gap": 120, "total": 1800}}; any may be left out.'
            )
        )
    if settings.get("transport", AIOHTTP) != AIOHTTP:
        raise ValidationError(_('The setting “transport” is "aiohttp", or it is left out.'))
    json.dumps(settings)
    return dict(settings)


def _are_timeouts(value: Any) -> bool:
    """Whether the relay can take them as they are: a text among them would fail every request of the channel."""
    if not isinstance(value, dict) or not set(value) <= set(Timeouts.__struct_fields__):
        return False
    return all(limit is None or (type(limit) in (int, float) and 0 < limit <= LONGEST_TIMEOUT) for limit in value.values())


def set_keys(channel: Channel, keys: Sequence[str], keep: bool = False) -> None:
    """Replaces a channel's keys, or adds to them; the same key twice is one. Keys that stay keep their state."""
    wanted = {digest(key): key for key in keys}
    with transaction.atomic():
        if not keep:
            channel.keys.exclude(fingerprint__in=wanted).delete()
        known = set(channel.keys.values_list("fingerprint", flat=True))
        for fingerprint, key in wanted.items():
            if fingerprint not in known:
                ChannelKey.objects.create(channel=channel, secret=key, fingerprint=fingerprint, hint=key[-HINT_LENGTH:] if len(key) > 8 else "")


def enable_channel(channel: Channel) -> None:
    """Enabled by hand; the automatic status of the channel and its keys is cleared with it."""
    with transaction.atomic():
        Channel.objects.filter(pk=channel.pk).update(enabled=True, version=F("version") + 1)
        ChannelState.objects.filter(channel=channel, status=ChannelState.Status.DISABLED).update(
            status=ChannelState.Status.OK, reason="", changed_at=timezone.now()
        )
    channel.enabled = True


def disable_channel(channel: Channel) -> None:
    """Disabled by hand: no relay process uses it after a second, and no health test enables it."""
    Channel.objects.filter(pk=channel.pk).update(enabled=False, version=F("version") + 1)
    channel.enabled = False


def find_channel(name_or_id: str) -> Channel:
    """A channel by its name, or by its id. Channel.DoesNotExist."""
    channels = Channel.objects.filter(deleted_at__isnull=True)
    named = channels.filter(name=name_or_id).first()
    if named is not None:
        return named
    return channels.get(pk=int(name_or_id) if name_or_id.isdecimal() else 0)
