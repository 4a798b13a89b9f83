"""Reads the environment for settings.py: typed, with `NAME_FILE` for secrets, and errors that an operator can act on."""

import ipaddress
import os
import zoneinfo
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.FileAwareEnv()


def text(name: str, default: str = "") -> str:
    """The variable (or the content of the file that NAME_FILE names), stripped."""
    return str(env.str(name, default=default)).strip()


def boolean(name: str, default: bool) -> bool:
    """1/0, true/false, yes/no, on/off; anything else stops the start."""
    raw = text(name).lower()
    if not raw:
        return default
    if raw in {"1", "true", "yes", "on"}:
        return True
    if raw in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is {raw!r}, but must be 1 or 0 (true or false).")


def number(name: str, default: float, low: float = 0, high: float = 1e15) -> float:
    """A number of seconds, bytes or things between `low` and `high`."""
    raw = text(name)
    try:
        value = float(raw) if raw else default
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {raw!r}, but must be a number.") from None
    if not low <= value <= high:
        raise ImproperlyConfigured(f"{name} is {value:g}, but must lie between {low:g} and {high:g}.")
    return value


def integer(name: str, default: int, low: int = 0, high: int = 10**15) -> int:
    """As `number`, whole."""
    value = number(name, default, low, high)
    if value != int(value):
        raise ImproperlyConfigured(f"{name} is {value:g}, but must be a whole number.")
    return int(value)


def choice(name: str, default: str, allowed: tuple[str, ...]) -> str:
    """One of `allowed`."""
    value = text(name, default) or default
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} is {value!r}, but must be one of: {', '.join(allowed)}.")
    return value


def words(name: str, default: str = "") -> list[str]:
    """A comma-separated list."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def networks(name: str) -> list[str]:
    """A comma-separated list of addresses or CIDR networks."""
    found = words(name)
    for item in found:
        try:
            ipaddress.ip_network(item, strict=False)
        except ValueError:
            raise ImproperlyConfigured(f"{name} names {item!r}, which is no address or network such as 10.0.0.0/8.") from None
    return found


def secret(name: str, file: Path) -> str:
    """A secret from the environment, else from the file that the first start wrote; empty where there is neither."""
    value = text(name)
    if not value and file.is_file():
        value = file.read_text(encoding="utf-8").strip()
    return value


def prefix(name: str) -> str:
    """A URL prefix such as `/one-api`: leading slash, none at the end; empty for none."""
    value = text(name).strip("/")
    return f"/{value}" if value else ""


def folder(name: str, default: Path) -> Path:
    """An absolute folder; relative ones count from where the server is started."""
    return Path(os.path.abspath(text(name) or default))


def timezone(name: str, default: str) -> str:
    """A name of the time zone database, such as Asia/Shanghai."""
    value = text(name, default) or default
    try:
        zoneinfo.ZoneInfo(value)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ImproperlyConfigured(f"{name} is {value!r}, which is no time zone such as UTC or Asia/Shanghai.") from None
    return value


def dollars(name: str, default: str) -> str:
    """An amount of USD, zero or more, as it was written."""
    value = text(name, default) or default
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal(-1)
    if not Decimal(0) <= amount <= Decimal(1_000_000):
        raise ImproperlyConfigured(f"{name} is {value!r}, but must be an amount of USD such as 2.50.")
    return value


def address(name: str, schemes: tuple[str, ...], default: str = "") -> str:
    """A URL with one of `schemes`; empty where it may be left out."""
    value = text(name) or default
    if value and urlsplit(value).scheme not in schemes:
        raise ImproperlyConfigured(f"{name} must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}.")
    return value


def database(url: str) -> dict[str, Any]:
    """Django's description of the database behind DATABASE_URL; the URL itself may hold a password and is never repeated."""
    try:
        return dict(env.db_url_config(url))
    except (ValueError, KeyError, ImproperlyConfigured):
        raise ImproperlyConfigured("DATABASE_URL cannot be read: write it as postgres://user:password@host:5432/name.") from None


def email(url: str) -> dict[str, Any]:
    """Django's EMAIL_* settings behind EMAIL_URL."""
    try:
        return dict(env.email_url_config(url))
    except (ValueError, KeyError, ImproperlyConfigured):
        raise ImproperlyConfigured("EMAIL_URL cannot be read: write it as smtp+tls://user:password@host:587.") from None
