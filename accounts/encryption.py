"""Secrets at rest: upstream keys, `sk-` keys, redeem codes and the like are encrypted with FIELD_ENCRYPTION_KEYS.

The first key encrypts, all decrypt, so that `keys rotate` needs no downtime. Fernet: https://github.com/fyrnet/spec/blob/master/Spec.md
"""

import hashlib
import secrets
import string
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

ALPHABET = string.ascii_letters + string.digits


class EncryptionError(Exception):
    """A secret cannot be read: FIELD_ENCRYPTION_KEYS is missing or not the key it was written with."""


@lru_cache(maxsize=8)
def _ring(keys: tuple[str, ...]) -> MultiFernet:
    if not keys:
        raise EncryptionError("FIELD_ENCRYPTION_KEYS is not set, and the data folder holds no field_encryption_keys file.")
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError:
        raise EncryptionError("FIELD_ENCRYPTION_KEYS must hold keys of 32 bytes in URL-safe base64, separated by commas.") from None


def keyring() -> MultiFernet:
    """The keys in force. Raises EncryptionError where there is none or one is malformed."""
    return _ring(tuple(key.strip() for key in settings.FIELD_ENCRYPTION_KEYS))


def encrypt(plain: str) -> str:
    """Ciphertext as ASCII text; the empty string stays empty."""
    return keyring().encrypt(plain.encode()).decode("ascii") if plain else ""


def decrypt(cipher: str) -> str:
    """The plain text. Raises EncryptionError where no key in force fits."""
    if not cipher:
        return ""
    try:
        return keyring().decrypt(cipher.encode("ascii")).decode()
    except InvalidToken:
        raise EncryptionError("a stored secret does not open with FIELD_ENCRYPTION_KEYS: put back the key it was written with.") from None


def rotate(cipher: str) -> str:
    """The same secret under the first key in force."""
    return keyring().rotate(cipher.encode("ascii")).decode("ascii") if cipher else ""


def generate_field_key() -> str:
    """A new key for FIELD_ENCRYPTION_KEYS."""
    return Fernet.generate_key().decode("ascii")


def random_text(length: int) -> str:
    """Letters and digits from the system's random source."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def digest(text: str) -> str:
    """SHA-256 in hex: what keys and codes are found by (it depends on no key that can rotate)."""
    return hashlib.sha256(text.encode()).hexdigest()
