"""A model field whose column holds ciphertext and whose attribute holds plain text."""

from typing import TYPE_CHECKING, Any

from django.db import models

from accounts.encryption import decrypt, encrypt

if TYPE_CHECKING:
    TextField = models.TextField[str, str]
else:
    TextField = models.TextField  # subscripted for the type checker only


class EncryptedTextField(TextField):
    """Text that a leaked database does not show. It cannot be searched: keep a digest beside it where a row must be found by it."""

    def get_prep_value(self, value: Any) -> Any:
        prepared = super().get_prep_value(value)
        return None if prepared is None else encrypt(prepared)

    def from_db_value(self, value: str | None, expression: object, connection: object) -> str | None:
        return None if value is None else decrypt(value)

    def get_lookup(self, lookup_name: str) -> Any:
        if lookup_name in {"isnull"}:
            return super().get_lookup(lookup_name)
        raise TypeError(f"{self.name} is encrypted and cannot be looked up by {lookup_name}.")
