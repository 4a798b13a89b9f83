"""docs/operate.md lists every command of ours, and every verb."""

import importlib
import re

import pytest

from accounts.operator import OperatorCommand
from tests.server import ROOT

COMMANDS = sorted(path for path in ROOT.glob("*/management/commands/*.py") if path.stem != "__init__")


def documented():
    rows = re.findall(r"^\| `([a-z_]+)(?: ([a-z][a-z-]*))?[^`]*` \|", (ROOT / "docs/operate.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {" ".join(filter(None, row)) for row in rows}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_and_its_verbs_are_documented(path):
    module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))

    verbs = getattr(module.Command, "verbs", None) if issubclass(module.Command, OperatorCommand) else None

    assert {f"{path.stem} {verb}" for verb in verbs} <= documented() if verbs else path.stem in documented()
    assert module.Command.help


def test_nothing_is_documented_that_does_not_exist():
    known = {path.stem for path in COMMANDS} | {"check"}

    assert {row.split()[0] for row in documented()} <= known
