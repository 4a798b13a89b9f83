"""Form fields of a channel: lists of names, JSON objects with errors that say what is wrong, secrets that are written and never shown."""

import json
import re
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminExpandableTextareaWidget, UnfoldAdminTextareaWidget

NAME_LENGTH = 200
NAMES_LIMIT = 2000
OBJECT_LIMIT = 64 * 1024  # characters of a JSON text


class NameListField(forms.CharField):
    """Names, one a line or separated by commas; its clean value is a list without repetitions, in the order entered."""

    widget = UnfoldAdminExpandableTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value) or "")
        names = list(dict.fromkeys(name.strip() for name in re.split(r"[\n,，]", text) if name.strip()))
        if len(names) > NAMES_LIMIT:
            raise forms.ValidationError(_("At most %(limit)d names."), params={"limit": NAMES_LIMIT})
        for name in names:
            if len(name) > NAME_LENGTH or not name.isprintable():
                raise forms.ValidationError(_("“%(name)s” is no name: at most 200 printable characters."), params={"name": name[:60]})
        return names

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != (initial or []))
        except forms.ValidationError:
            return True


class JSONObjectField(forms.CharField):
    """A JSON object; empty is {}. With `texts`, each of its values must be a text."""

    widget = UnfoldAdminExpandableTextareaWidget

    def __init__(self, *, texts: bool = False, **options: Any) -> None:
        self.texts = texts
        super().__init__(max_length=OBJECT_LIMIT, **options)

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return json.dumps(value, ensure_ascii=False, indent=2) if value else ""
        return value

    def clean(self, value: Any) -> Any:
        text = str(super().clean(value) or "").strip()
        if not text:
            return {}
        try:
            found = json.loads(text, object_pairs_hook=without_repetition)
        except json.JSONDecodeError as error:
            raise forms.ValidationError(
                _("This is no JSON: line %(line)d, column %(column)d: %(error)s."),
                params={"line": error.lineno, "column": error.colno, "error": error.msg},
            ) from None
        except RecursionError:
            raise forms.ValidationError(_("This JSON is nested too deeply.")) from None
        except ValueError as error:
            raise forms.ValidationError(_("The name “%(name)s” stands there twice."), params={"name": str(error)}) from None
        if not isinstance(found, dict):
            raise forms.ValidationError(_('Enter a JSON object such as {"name": "value"}.'))
        if self.texts and not all(isinstance(item, str) and item for item in found.values()):
            raise forms.ValidationError(_('Each value must be a text, as in {"gpt-4o": "gpt-4o-2024-11-20"}.'))
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != (initial or {}))
        except forms.ValidationError:
            return True


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. ValueError: a name stands there twice (its text is the name)."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(name)
        found[name] = value
    return found


class SecretTextField(forms.CharField):
    """Text that is entered and never shown: empty keeps what is saved."""

    def __init__(self, **options: Any) -> None:
        attrs = {"autocomplete": "off", "spellcheck": "false", "rows": 3}
        options.setdefault("widget", UnfoldAdminTextareaWidget(attrs=attrs))
        super().__init__(required=False, **options)

    def prepare_value(self, value: Any) -> str:
        return ""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(str(data or "").strip())
