"""`manage.py keys rotate|generate`: FIELD_ENCRYPTION_KEYS without downtime.

Put the new key first and keep the old ones behind it, restart, then rotate: every stored secret is encrypted anew with the first key. Afterwards the
old keys can go. The server may run meanwhile: a row that somebody changes at the same time is left to them, and read again.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any, ClassVar

from django.apps import apps
from django.conf import settings
from django.db import connection, models, transaction

from accounts.encryption import generate_field_key, rotate
from accounts.fields import EncryptedTextField
from accounts.models import EncryptionCheck
from accounts.operator import OperatorCommand, Output

CHUNK = 200  # rows a transaction: on SQLite the lock is held for a few milliseconds


def encrypted_columns() -> Iterator[tuple[type[models.Model], str]]:
    """All columns that hold ciphertext, the check value's included."""
    for model in apps.get_models():
        for column in model._meta.concrete_fields:
            if isinstance(column, EncryptedTextField) and column.column:
                yield model, column.column
    yield EncryptionCheck, "cipher"


def rotate_column(model: type[models.Model], column: str) -> int:
    """Encrypts a column anew with the first key; gives back the number of rows. Raises EncryptionError where no key fits."""
    quote = connection.ops.quote_name
    table, key, name = quote(model._meta.db_table), quote(str(model._meta.pk.column)), quote(column)
    select = f"SELECT {key}, {name} FROM {table} WHERE {key} > %s AND {name} <> '' ORDER BY {key} LIMIT {CHUNK}"  # noqa: S608  names of our models
    update = f"UPDATE {table} SET {name} = %s WHERE {key} = %s AND {name} = %s"  # noqa: S608  names of our models
    last, count = 0, 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(select, [last])
            rows = cursor.fetchall()
        if not rows:
            return count
        fresh = [(rotate(cipher), pk, cipher) for pk, cipher in rows]
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(update, fresh)
        last, count = rows[-1][0], count + len(rows)


class Command(OperatorCommand):
    help = "The keys that encrypt stored secrets (FIELD_ENCRYPTION_KEYS)."
    verbs: ClassVar[dict[str, str]] = {
        "rotate": "Encrypt every stored secret anew with the first of FIELD_ENCRYPTION_KEYS; also while the server runs.",
        "generate": "Print a new key for FIELD_ENCRYPTION_KEYS; nothing is changed.",
    }

    def arguments_rotate(self, parser: ArgumentParser) -> None:
        """None."""

    def arguments_generate(self, parser: ArgumentParser) -> None:
        """None."""

    def rotate(self, options: dict[str, Any]) -> Output:
        counts = {f"{model._meta.label}.{column}": rotate_column(model, column) for model, column in encrypted_columns()}
        total = sum(counts.values())
        return Output({"rotated": total, "columns": counts, "keys": len(settings.FIELD_ENCRYPTION_KEYS)}, [f"{total} secrets encrypted anew."])

    def generate(self, options: dict[str, Any]) -> Output:
        key = generate_field_key()
        return Output({"key": key}, [key])
