"""System checks: a setting that is wrong together with others explains itself in a sentence. What is wrong by itself stops in env.py."""

import ipaddress
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from cryptography.fernet import Fernet
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ValidationError
from django.core.validators import validate_email


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@register
def processes_fit_the_database(**_: Any) -> Sequence[CheckMessage]:
    """SQLite has one relay process, and it shares its file with nobody."""
    found: list[CheckMessage] = []
    if settings.EMBEDDED and settings.WEB_CONCURRENCY > 1:
        found.append(
            Error(
                f"WEB_CONCURRENCY is {settings.WEB_CONCURRENCY}, but on SQLite there can be one relay process.",
                hint="Leave it at 1, or set DATABASE_URL to a PostgreSQL server.",
                id="oneapi.E001",
            )
        )
    if settings.EMBEDDED and settings.ROLE != "all":
        found.append(
            Error(
                f"ROLE is {settings.ROLE}, but relay and console can only be split when they share a database server.",
                hint="Leave it at all, or set DATABASE_URL to a PostgreSQL server.",
                id="oneapi.E002",
            )
        )
    if not settings.EMBEDDED and not settings.REDIS_URL and settings.WEB_CONCURRENCY > 1:
        found.append(
            Warning(
                "WEB_CONCURRENCY is above 1 without REDIS_URL: request limits and sign-in throttles count for each process apart.",
                hint="Set REDIS_URL.",
                id="oneapi.W003",
            )
        )
    return found


@register
def keys_are_well_formed(**_: Any) -> Sequence[CheckMessage]:
    """Each of FIELD_ENCRYPTION_KEYS is a Fernet key; whether it is the right one is seen at the start, against the data."""
    for number, key in enumerate(settings.FIELD_ENCRYPTION_KEYS, start=1):
        try:
            Fernet(key.strip())
        except ValueError:
            return [
                Error(
                    f"Key {number} of FIELD_ENCRYPTION_KEYS is not 32 bytes in URL-safe base64.",
                    hint="`script/manage keys generate` prints a new one; keep the old ones behind it.",
                    id="oneapi.E004",
                )
            ]
    return []


@register
def origins_have_schemes(**_: Any) -> Sequence[CheckMessage]:
    """CSRF_TRUSTED_ORIGINS are origins: scheme and host, nothing behind."""
    wrong = [origin for origin in settings.CSRF_TRUSTED_ORIGINS if not _is_origin(origin)]
    if not wrong:
        return []
    return [
        Error(
            f"CSRF_TRUSTED_ORIGINS names {', '.join(wrong)}, but each must be a scheme and a host without a path.",
            hint="For example: https://gateway.example.com",
            id="oneapi.E005",
        )
    ]


def _is_origin(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and parts.path in {"", "/"}


@register
def alerts_can_be_sent(**_: Any) -> Sequence[CheckMessage]:
    """ALERT_EMAILS are addresses, ALERT_WEBHOOK has a host."""
    found: list[CheckMessage] = []
    for address in settings.ALERT_EMAILS:
        try:
            validate_email(address)
        except ValidationError:
            found.append(Error(f"ALERT_EMAILS names {address!r}, which is no e-mail address.", id="oneapi.E006"))
    if settings.ALERT_WEBHOOK and not urlsplit(settings.ALERT_WEBHOOK).hostname:
        found.append(Error("ALERT_WEBHOOK is no URL with a host.", hint="For example: https://hooks.example.com/oneapi", id="oneapi.E007"))
    return found


@register
def console_is_reachable_and_closed(**_: Any) -> Sequence[CheckMessage]:
    """What is open to the network names its hosts and shows no debug pages."""
    found: list[CheckMessage] = []
    if settings.DEBUG and not _loopback(settings.HOST):
        found.append(
            Error(
                f"DEBUG is on while HOST is {settings.HOST}: error pages would show secrets to the network.",
                hint="Set DEBUG=0, or HOST=127.0.0.1.",
                id="oneapi.E008",
            )
        )
    if not _loopback(settings.HOST) and all(_loopback(host.strip("[]")) for host in settings.ALLOWED_HOSTS):
        found.append(
            Warning(
                f"HOST is {settings.HOST}, but ALLOWED_HOSTS names only this machine: the console answers 400 under any other name.",
                hint="Set ALLOWED_HOSTS to the names and addresses that browsers use.",
                id="oneapi.W009",
            )
        )
    if "*" in settings.ALLOWED_HOSTS:
        found.append(
            Warning("ALLOWED_HOSTS is *: any Host header is believed, also in links sent by mail.", hint="Name the hosts.", id="oneapi.W010")
        )
    return found


@register
def bounds_fit_each_other(**_: Any) -> Sequence[CheckMessage]:
    """A limit that another one makes ineffective is refused."""
    found: list[CheckMessage] = []
    if settings.MAX_BODY_BYTES > settings.MAX_BYTES_IN_FLIGHT:
        found.append(
            Error(
                "MAX_BODY_BYTES is above MAX_BYTES_IN_FLIGHT: a request of the allowed size could never be admitted.",
                hint="Raise MAX_BYTES_IN_FLIGHT, or lower MAX_BODY_BYTES.",
                id="oneapi.E011",
            )
        )
    for name in ("TIMEOUT_CONNECT", "TIMEOUT_FIRST_TOKEN", "TIMEOUT_GAP"):
        if getattr(settings, name) > settings.TIMEOUT_TOTAL:
            found.append(Warning(f"{name} is above TIMEOUT_TOTAL, which ends the request first.", hint=f"Lower {name}.", id="oneapi.W012"))
    return found
