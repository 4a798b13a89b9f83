"""Everything that must be there before the server serves. Each step is quick when there is nothing to do, and harmless when repeated."""

import contextlib
import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from django.conf import settings
from django.core.checks import run_checks
from django.core.checks.messages import ERROR
from django.core.management import call_command
from django.db import connection
from django.db.backends.utils import CursorWrapper
from django.db.migrations.executor import MigrationExecutor

from accounts.first_start import StartRefused, ensure_administrator, ensure_keys
from billing.models import ModelPrice
from gateway.triggers import install
from oneapi_site.schedule import ensure_schedule

SETUP_LOCK = 0x6F6E6561_7069  # an advisory lock's number: hosts on one PostgreSQL set up one after another
LOCK_PATIENCE = 120.0
Say = Callable[[str], object]


def check(say: Say) -> None:
    """`manage.py check`: warnings are printed, errors stop the start. Raises StartRefused."""
    problems = run_checks()
    for problem in problems:
        say(f"{problem.id}: {problem.msg}{f' ({problem.hint})' if problem.hint else ''}")
    if any(problem.is_serious(ERROR) for problem in problems):
        raise StartRefused("The configuration is wrong: see above.")


def set_up(say: Say) -> None:
    """Tables, keys, first administrator, prices, schedule and static files. Raises StartRefused."""
    with alone(say):
        migrate(say)
        for name in ensure_keys():
            say(f"{name} generated into {settings.DATA_DIR}: keep a backup, stored secrets cannot be read without it.")
        announce_administrator(say)
        ensure_schedule()
        load_prices(say)
    collect_static(say)


@contextlib.contextmanager
def alone(say: Say) -> Iterator[None]:
    """On PostgreSQL one host at a time; on SQLite the lock on the folder has seen to that."""
    if settings.EMBEDDED:
        yield
        return
    deadline = time.monotonic() + LOCK_PATIENCE
    with connection.cursor() as cursor:
        while not _try_lock(cursor):
            if time.monotonic() > deadline:
                raise StartRefused(f"Another server has been setting up this database for {LOCK_PATIENCE:g} seconds (advisory lock {SETUP_LOCK}).")
            say("Waiting for another server that sets up this database.")
            time.sleep(1)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [SETUP_LOCK])


def _try_lock(cursor: CursorWrapper) -> bool:
    cursor.execute("SELECT pg_try_advisory_lock(%s)", [SETUP_LOCK])
    return bool(cursor.fetchone()[0])


def migrate(say: Say) -> None:
    """Applies what is missing; the triggers are made anew each time, as a restored database may lack them."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        say("Preparing the database.")
        call_command("migrate", interactive=False, verbosity=0)
    else:
        install(connection)


def announce_administrator(say: Say) -> None:
    """The first administrator; a made-up password is printed this once."""
    created = ensure_administrator()
    if created is None:
        return
    say(f"Administrator created: {created.username}")
    if created.password:
        say(f"Password (shown this once): {created.password}")
    if created.warning:
        say(f"ADMIN_PASSWORD is weak: {created.warning}")


def load_prices(say: Say) -> None:
    """Fills an empty price table; in a process of its own, as the catalogue takes 111 MB once imported."""
    if ModelPrice.objects.exists():
        return
    say("Loading model prices.")
    manage = str(settings.BASE_DIR / "manage.py")
    done = subprocess.run([sys.executable, manage, "load_prices"], capture_output=True, text=True, check=False)  # noqa: S603  fixed arguments
    if done.returncode:
        say(f"Prices could not be loaded, so no model can be served until `script/manage load_prices` succeeds: {done.stderr.strip()[-500:]}")


def collect_static(say: Say) -> None:
    """Collects static files if they or the packages changed since the last time."""
    digest = hashlib.sha256((settings.BASE_DIR / "requirements.txt").read_bytes())
    for file in sorted(path for folder in settings.STATICFILES_DIRS for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{file} {file.stat().st_size} {file.stat().st_mtime_ns}\n".encode())
    stamp = settings.STATIC_ROOT / ".collected"
    if stamp.is_file() and stamp.read_text(encoding="ascii") == digest.hexdigest():
        return
    say("Collecting static files.")
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(digest.hexdigest(), encoding="ascii")
