"""Each wrong setting explains itself in a sentence, before anything is touched."""

import os
import subprocess
import sys

import pytest

from tests.server import ROOT, environment

pytestmark = pytest.mark.slow
POSTGRES = "postgres://nobody:secret-of-the-database@127.0.0.1:1/none"

SENTENCES = [
    ({"WEB_CONCURRENCY": "3"}, "oneapi.E001: WEB_CONCURRENCY is 3, but on SQLite there can be one relay process."),
    ({"ROLE": "relay"}, "oneapi.E002: ROLE is relay, but relay and console can only be split when they share a database server."),
    ({"ROLE": "everything"}, "ROLE is 'everything', but must be one of: all, relay, console."),
    ({"FIELD_ENCRYPTION_KEYS": "short"}, "oneapi.E004: Key 1 of FIELD_ENCRYPTION_KEYS is not 32 bytes in URL-safe base64."),
    ({"CSRF_TRUSTED_ORIGINS": "gateway.example.com"}, "oneapi.E005: CSRF_TRUSTED_ORIGINS names gateway.example.com"),
    ({"CSRF_TRUSTED_ORIGINS": "https://gateway.example.com/one-api"}, "must be a scheme and a host without a path"),
    ({"ALERT_EMAILS": "ops@example.com,nobody"}, "oneapi.E006: ALERT_EMAILS names 'nobody', which is no e-mail address."),
    ({"ALERT_WEBHOOK": "hooks.example.com/x"}, "ALERT_WEBHOOK must be a URL that begins with https:// or http://."),
    ({"ALERT_WEBHOOK": "https:///x"}, "oneapi.E007: ALERT_WEBHOOK is no URL with a host."),
    ({"DEBUG": "1", "HOST": "0.0.0.0"}, "oneapi.E008: DEBUG is on while HOST is 0.0.0.0"),
    ({"MAX_BODY_BYTES": "4294967296"}, "oneapi.E011: MAX_BODY_BYTES is above MAX_BYTES_IN_FLIGHT"),
    ({"PORT": "http"}, "PORT is 'http', but must be a number."),
    ({"PORT": "70000"}, "PORT is 70000, but must lie between 1 and 65535."),
    ({"TZ": "Mars/Phobos"}, "TZ is 'Mars/Phobos', which is no time zone"),
    ({"TRUSTED_PROXIES": "nginx"}, "TRUSTED_PROXIES names 'nginx', which is no address or network"),
    ({"DATABASE_URL": "mysql://x"}, "DATABASE_URL must be a URL that begins with sqlite:// or postgres:// or postgresql://."),
    ({"DATABASE_URL": "postgres://u:p@host:port/x"}, "DATABASE_URL cannot be read"),
    ({"REDIS_URL": "localhost:6379"}, "REDIS_URL must be a URL that begins with redis:// or rediss:// or unix://."),
    ({"EMAIL_URL": "pigeon://x"}, "EMAIL_URL cannot be read"),
    ({"DEFAULT_PRICE_INPUT": "free"}, "DEFAULT_PRICE_INPUT is 'free', but must be an amount of USD"),
    ({"DEBUG": "maybe"}, "DEBUG is 'maybe', but must be 1 or 0 (true or false)."),
    ({"LOG_LEVEL": "loud"}, "LOG_LEVEL is 'loud', but must be one of"),
]


def serve(folder, **env):
    command = [sys.executable, str(ROOT / "manage.py"), "serve"]
    return subprocess.run(command, env=environment(folder, 1, **env), capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("env", "sentence"), SENTENCES, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_a_wrong_setting_stops_the_start_with_a_sentence(tmp_path, env, sentence):
    done = serve(tmp_path / "data", **env)

    assert done.returncode == 1
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists(), "nothing may be touched"


def test_a_database_that_is_away_stops_the_start_without_showing_its_password(tmp_path):
    done = serve(tmp_path / "data", DATABASE_URL=POSTGRES)

    assert done.returncode == 1
    assert "The database does not answer" in done.stderr
    assert "secret-of-the-database" not in done.stdout + done.stderr


def test_several_processes_without_redis_are_warned_about(tmp_path):
    done = serve(tmp_path / "data", DATABASE_URL=POSTGRES, WEB_CONCURRENCY="2")

    assert "oneapi.W003: WEB_CONCURRENCY is above 1 without REDIS_URL" in done.stdout


def test_a_secret_may_come_from_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("not a key\n", encoding="ascii")

    done = serve(tmp_path / "data", FIELD_ENCRYPTION_KEYS_FILE=os.fspath(file))

    assert "oneapi.E004" in done.stdout
