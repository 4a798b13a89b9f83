"""The first start makes keys and an administrator once; over existing data a missing or wrong key is refused."""

import os
import stat
import subprocess
import sys

import pytest

from tests.server import ROOT, create_server

pytestmark = pytest.mark.slow
ANOTHER_KEY = "YW5vdGhlciBrZXkgb2YgdGhpcnR5LXR3byBieXRlcyE="


def set_up(server, **env):
    command = [sys.executable, str(ROOT / "manage.py"), "serve", "--setup-only"]
    return subprocess.run(command, env={**server.env, **env}, capture_output=True, text=True, check=False)


def without(server, *names):
    server.env = {name: value for name, value in server.env.items() if name not in names}
    return server


@pytest.fixture
def started(database, tmp_path):
    """A folder that has been set up once."""
    return create_server(tmp_path, database)


def test_the_first_start_generates_keys_that_only_their_owner_reads(started):
    for name in ("secret_key", "field_encryption_keys"):
        file = started.data_dir / name
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(file.read_text(encoding="ascii").strip()) >= 44
    assert stat.S_IMODE(started.data_dir.stat().st_mode) == 0o700


def test_the_administrator_has_the_given_name_and_an_unlimited_balance(database, tmp_path):
    server = create_server(tmp_path, database, fresh=True, ADMIN_USERNAME="root")

    done = set_up(server)

    assert "Administrator created: root" in done.stdout
    assert "shown this once" not in done.stdout, "a given password is not repeated"
    listed = server.manage("user", "list", "--json").stdout
    assert '"name": "root"' in listed
    assert '"unlimited": true' in listed


def test_without_a_given_password_a_random_one_is_printed_once(database, tmp_path):
    server = without(create_server(tmp_path, database, fresh=True), "ADMIN_PASSWORD")

    first, second = set_up(server), set_up(server)

    assert "Password (shown this once): " in first.stdout
    assert "Password" not in second.stdout


def test_two_installations_share_no_secret(tmp_path):
    servers = [without(create_server(tmp_path, "sqlite", fresh=True), "ADMIN_PASSWORD") for _ in range(2)]

    printed = [line for server in servers for line in set_up(server).stdout.splitlines() if line.startswith("Password")]

    assert len(set(printed)) == 2
    assert len({(server.data_dir / "field_encryption_keys").read_text(encoding="ascii") for server in servers}) == 2


def test_keys_are_never_generated_again(started):
    kept = (started.data_dir / "field_encryption_keys").read_bytes()

    done = set_up(started)

    assert done.returncode == 0
    assert "generated" not in done.stdout
    assert (started.data_dir / "field_encryption_keys").read_bytes() == kept


@pytest.mark.parametrize(("file", "name"), [("field_encryption_keys", "FIELD_ENCRYPTION_KEYS"), ("secret_key", "SECRET_KEY")])
def test_a_lost_key_stops_the_start_and_is_not_replaced(started, file, name):
    (started.data_dir / file).unlink()

    done = set_up(started)

    assert done.returncode == 1
    assert name in done.stderr
    assert "Traceback" not in done.stderr
    assert not (started.data_dir / file).exists()


def test_a_wrong_key_stops_the_start(started):
    done = set_up(started, FIELD_ENCRYPTION_KEYS=ANOTHER_KEY)

    assert done.returncode == 1
    assert "The stored secrets cannot be read" in done.stderr


def test_a_new_key_before_the_old_one_is_taken_and_rotated_to(started):
    old = (started.data_dir / "field_encryption_keys").read_text(encoding="ascii").strip()
    started.env["FIELD_ENCRYPTION_KEYS"] = f"{ANOTHER_KEY},{old}"

    assert set_up(started).returncode == 0
    started.manage("redeem", "mint", "--count", "2", "--usd", "1")
    started.manage("keys", "rotate")

    started.env["FIELD_ENCRYPTION_KEYS"] = ANOTHER_KEY
    assert set_up(started).returncode == 0, "the old key is no longer needed"
    assert len(started.manage("redeem", "list", "--reveal").stdout.splitlines()) == 3


def test_an_ordinary_user_is_never_made_the_administrator(started):
    started.manage("user", "add", "--user", "mallory", "--password", "a long enough one")
    demote = "from accounts.models import User; User.objects.update(is_superuser=False)"
    started.manage("shell", "-c", demote)

    done = set_up(started, ADMIN_USERNAME="mallory")

    assert done.returncode == 1
    assert "The user mallory exists and is no administrator" in done.stderr


def test_prices_are_there_after_the_first_start(started):
    assert '"model": "gpt-4o-mini"' in started.manage("price", "list", "--json").stdout


def test_the_second_set_up_has_nothing_to_do(started):
    changed = {path: os.stat(path).st_mtime_ns for path in (started.data_dir / "static").resolve().rglob("*")}

    done = set_up(started)

    assert done.stdout.strip() == ""
    assert changed == {path: os.stat(path).st_mtime_ns for path in changed}
