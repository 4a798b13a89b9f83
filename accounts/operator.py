"""Operator commands: `script/manage channel add …`. One shape for all: a verb, `--json`, and exit code 1 with a sentence on any error.

Scripts rely on it: with `--json` standard output is one JSON value, also for an error ({"error": "…"}); without, a key or code stands alone on
its line.
"""

import datetime
import json
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, NoReturn

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandParser
from django.db import IntegrityError, OperationalError, ProgrammingError

from accounts.encryption import EncryptionError


class OperatorError(Exception):
    """The command cannot do what was asked; the text is a sentence."""


@dataclass(frozen=True)
class Output:
    """What a verb gives back: `data` for `--json`, `lines` for people."""

    data: Any
    lines: Iterable[str] = field(default_factory=tuple)


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Output:
    """Rows as JSON objects, and as columns under their names."""
    cells = [[name.upper() for name in columns], *([_cell(row[name]) for name in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return Output(rows, lines)


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return str(value)


class OperatorCommand(BaseCommand):
    """A subclass lists its verbs as {verb: help} and has a method of each name (`write-off`: write_off), which gives back an Output,
    and one `arguments_<verb>`."""

    verbs: ClassVar[dict[str, str]]
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        for verb, text in self.verbs.items():
            child = verbs.add_parser(verb, help=text, description=text)
            child.add_argument("--json", action="store_true", help="print JSON")
            getattr(self, f"arguments_{_name(verb)}")(child)

    def handle(self, *_: Any, **options: Any) -> None:
        act: Callable[[dict[str, Any]], Output] = getattr(self, _name(options["verb"]))
        try:
            output = act(options)
        except (OperatorError, EncryptionError, ValueError, ValidationError, IntegrityError) as error:
            self.fail(sentence(error), as_json=options["json"])
        except (OperationalError, ProgrammingError) as error:
            self.fail(f"The database cannot be used (was script/server started once on this DATA_DIR?): {error}".strip(), as_json=options["json"])
        if options["json"]:
            self.stdout.write(json.dumps(output.data, ensure_ascii=False, default=_jsonable))
            return
        for line in output.lines:
            self.stdout.write(line)

    def fail(self, text: str, *, as_json: bool) -> NoReturn:
        """Ends with exit code 1."""
        if as_json:
            self.stdout.write(json.dumps({"error": text}, ensure_ascii=False))
        self.stderr.write(text)
        sys.exit(1)


def _name(verb: str) -> str:
    return verb.replace("-", "_")


def sentence(error: Exception) -> str:
    """An error as the operator reads it."""
    if isinstance(error, ValidationError):
        return " ".join(error.messages)
    return str(error)


def _jsonable(value: Any) -> Any:
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def words(text: str) -> list[str]:
    """An argument's comma-separated names."""
    return [word.strip() for word in text.split(",") if word.strip()]


def json_object(text: str) -> dict[str, Any]:
    """An argument that is a JSON object."""
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ArgumentTypeError("must be a JSON object")
    return value


def moment(text: str) -> datetime.datetime:
    """An argument that is a date or time by ISO 8601; without a zone it is UTC."""
    try:
        value = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError("must be a date or time such as 2027-01-31 or 2027-01-31T12:00:00+08:00") from None
    return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
