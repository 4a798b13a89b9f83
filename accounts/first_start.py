"""What happens once in the life of an installation: its two keys and its first administrator.

Keys are generated only where there is no data yet. Over existing data a missing or wrong key stops the start: a new one would turn every
stored upstream key, token and code into noise.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.utils import get_random_secret_key

from accounts import encryption
from accounts.models import EncryptionCheck, User

KNOWN_TEXT = "the keys of this installation open this"
PASSWORD_LENGTH = 20


class StartRefused(Exception):
    """The server must not start; the text is a sentence for the operator."""


def write_secret(file: Path, value: str) -> None:
    """A file that only its owner reads, complete or not there at all."""
    draft = file.with_name(file.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(value + "\n")
        handle.flush()
        os.fsync(handle.fileno())
    draft.rename(file)


def ensure_keys() -> list[str]:
    """Generates missing keys on empty data, else checks them against it. Gives back the names of what was generated.

    Raises StartRefused.
    """
    generated = []
    if not EncryptionCheck.objects.exists() and not User.objects.exists():
        generated = generate_missing_keys()
    elif settings.SECRET_KEY_MISSING:
        raise StartRefused(f"SECRET_KEY is missing although the database holds data: set it, or put {settings.SECRET_KEY_FILE} back from a backup.")
    check_field_keys()
    return generated


def generate_missing_keys() -> list[str]:
    """Writes the keys that are not given into DATA_DIR and puts them in force."""
    generated = []
    if settings.SECRET_KEY_MISSING:
        settings.SECRET_KEY = get_random_secret_key()
        settings.SECRET_KEY_MISSING = False
        write_secret(settings.SECRET_KEY_FILE, settings.SECRET_KEY)
        generated.append("SECRET_KEY")
    if not settings.FIELD_ENCRYPTION_KEYS:
        settings.FIELD_ENCRYPTION_KEYS = [encryption.generate_field_key()]
        write_secret(settings.FIELD_KEYS_FILE, settings.FIELD_ENCRYPTION_KEYS[0])
        generated.append("FIELD_ENCRYPTION_KEYS")
    return generated


def check_field_keys() -> None:
    """The known text opens with the keys in force; on empty data it is written. Raises StartRefused."""
    try:
        check = EncryptionCheck.objects.filter(id=1).first()
        if check is None:
            EncryptionCheck.objects.create(id=1, cipher=encryption.encrypt(KNOWN_TEXT))
        elif encryption.decrypt(check.cipher) != KNOWN_TEXT:
            raise encryption.EncryptionError("the database's check value is damaged.")
    except encryption.EncryptionError as error:
        raise StartRefused(
            f"The stored secrets cannot be read: {error} Set FIELD_ENCRYPTION_KEYS, or put {settings.FIELD_KEYS_FILE} back from a backup."
        ) from None


@dataclass(frozen=True)
class Administrator:
    """The administrator just created; `password` only where it was made up, `warning` where the given one is weak."""

    username: str
    password: str | None
    warning: str


def ensure_administrator() -> Administrator | None:
    """Creates the first administrator, whose balance is unlimited; None where there is one already. Raises StartRefused."""
    if User.objects.filter(is_superuser=True, deleted_at__isnull=True).exists():
        return None
    name = settings.ADMIN_USERNAME
    if User.objects.filter(username=name).exists():
        raise StartRefused(f"The user {name} exists and is no administrator: choose another ADMIN_USERNAME for the first administrator.")
    given = settings.ADMIN_PASSWORD
    password = given or encryption.random_text(PASSWORD_LENGTH)
    user = User(username=name, is_staff=True, is_superuser=True, unlimited=True)
    user.set_password(password)
    user.save()
    return Administrator(name, None if given else password, weakness(given, user) if given else "")


def weakness(password: str, user: User) -> str:
    """Why a password is a bad one; empty if it is not."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        return " ".join(error.messages)
    return ""
