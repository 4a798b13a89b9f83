"""The commands as a shell sees them: help, wrong usage, Django's own --settings left alone."""

import subprocess
import sys

import pytest

from tests.server import ROOT, create_server

pytestmark = pytest.mark.slow
VERBS = {
    "channel": ["add", "list", "enable", "disable", "test"],
    "token": ["add", "list", "revoke"],
    "redeem": ["mint", "list"],
    "user": ["add", "list", "credit", "enable", "disable"],
    "price": ["set", "list"],
    "keys": ["rotate", "generate"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder that has been set up; no server runs."""
    return create_server(tmp_path_factory.mktemp("commands"), "sqlite")


@pytest.mark.parametrize("command", [*VERBS, "audit"])
def test_help_names_every_verb(folder, command):
    shown = folder.manage(command, "--help").stdout

    assert all(verb in shown for verb in VERBS.get(command, ()))


def test_wrong_usage_ends_with_an_exit_code(folder):
    assert folder.manage("user", "credit", check=False).returncode == 2
    assert folder.manage("user", check=False).returncode == 2
    assert folder.manage("usr", check=False).returncode == 1


@pytest.mark.parametrize("form", [["--settings", "{}"], ["--settings={}"]])
def test_a_channels_settings_are_not_taken_for_djangos(folder, form):
    name = "one" if len(form) == 1 else "two"

    folder.manage("channel", "add", "--provider", "echo", "--name", name, *form)

    assert name in folder.manage("channel", "list").stdout


def test_a_channel_is_tested_through_the_code_that_serves_clients(folder):
    folder.manage("channel", "add", "--provider", "echo", "--name", "echo")
    folder.manage("channel", "add", "--provider", "openai", "--name", "away", "--base-url", "http://127.0.0.1:1", "--key", "k", "--models", "m")

    assert folder.manage("channel", "test", "--channel", "echo").returncode == 0
    failed = folder.manage("channel", "test", "--channel", "away", check=False)
    assert failed.returncode == 1
    assert failed.stderr.strip().startswith("away: ")


def test_a_folder_that_was_never_set_up_is_named_in_a_sentence(tmp_path):
    fresh = create_server(tmp_path, "sqlite", fresh=True)
    command = [sys.executable, str(ROOT / "manage.py"), "user", "list"]

    done = subprocess.run(command, env=fresh.env, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "was script/server started once on this DATA_DIR?" in done.stderr
    assert "Traceback" not in done.stderr
