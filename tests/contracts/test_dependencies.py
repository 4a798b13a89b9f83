"""What is installed is pinned, with hashes, and the files are those of pyproject.toml."""

import re
import subprocess
import sys

import pytest

from tests.server import ROOT


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_every_requirement_has_one_version_and_hashes(name):
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text(encoding="utf-8").partition("\n")[2].strip())

    assert len(entries) > 80
    for entry in entries:
        assert re.match(r"[\w.\[\],-]+==[\w.+!]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]


def test_the_compiled_files_belong_to_pyproject():
    done = subprocess.run([sys.executable, str(ROOT / "script/requirements.py"), "--check"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_no_file_names_a_registry():
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        assert not re.search(r"--index-url|--find-links|https?://[^ ]*(?:pypi|simple)", (ROOT / name).read_text(encoding="utf-8"))
