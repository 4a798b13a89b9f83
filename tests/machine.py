"""`python -m tests.machine`: what the tests need of the machine. On Debian as root it is installed; elsewhere the run fails and names it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests import faketime
from tests.browser import chromium
from tests.services import postgres_binaries


def _has_chinese_font() -> bool:
    found = subprocess.run(["fc-list", ":lang=zh"], capture_output=True, check=False) if shutil.which("fc-list") else None
    return bool(found and found.stdout.strip())


NEEDS: dict[str, Callable[[], object]] = {
    "postgresql": lambda: os.environ.get("TEST_DATABASE_URL") or postgres_binaries(),
    "redis-server": lambda: os.environ.get("TEST_REDIS_URL") or shutil.which("redis-server") or shutil.which("valkey-server"),
    "chromium": chromium,
    "libfaketime": faketime.library,
    "gettext": lambda: shutil.which("msgfmt"),
    "fontconfig": lambda: shutil.which("fc-list"),
    "fonts-noto-cjk": _has_chinese_font,
}


def missing() -> list[str]:
    """Debian's names of the packages that are not there."""
    return [package for package, found in NEEDS.items() if not found()]


def install(packages: list[str]) -> None:
    """With apt-get; its own words are shown when it fails. Debian starts no server for it: a policy file forbids that meanwhile."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
        policy.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        subprocess.run(["apt-get", "-qq", "update"], env=environment, check=False)
        subprocess.run(["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages], env=environment, check=False)
    finally:
        if ours:
            policy.unlink()


def main() -> None:
    packages = missing()
    if packages and os.getuid() == 0 and shutil.which("apt-get"):
        print(f"Installing for the tests: {' '.join(packages)}", flush=True)
        install(packages)
        packages = missing()
    if packages:
        sys.exit(f"The tests need these packages (Debian's names): {' '.join(packages)}. Install them and start again.")


if __name__ == "__main__":
    main()
