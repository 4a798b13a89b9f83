"""Compiles requirements.txt and requirements-dev.txt from pyproject.toml with uv; `--check` says whether they are up to date.

The check needs no network: the files name the hash of what they were compiled from, and every direct dependency must be pinned in them.
"""

import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILES: dict[str, list[str]] = {"requirements.txt": [], "requirements-dev.txt": ["--group", "dev"]}
OPTIONS = ["--universal", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--python-version", "3.11", "--quiet", "--no-header"]


def declared() -> dict[str, Any]:
    """What pyproject.toml says about dependencies, and nothing else of it."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {"dependencies": document["project"]["dependencies"], "dev": document["dependency-groups"]["dev"]}


def heading() -> str:
    digest = hashlib.sha256(repr(declared()).encode()).hexdigest()
    return f"# Compiled by script/requirements.py from pyproject.toml, dependencies {digest[:16]}\n"


def compile_all() -> None:
    for name, extra in FILES.items():
        file = ROOT / name
        command = ["uv", "pip", "compile", "pyproject.toml", *extra, *OPTIONS, "--output-file", name]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  a fixed list
        file.write_text(heading() + file.read_text(encoding="utf-8"), encoding="utf-8")


def outdated() -> list[str]:
    """Sentences about what is wrong."""
    found = []
    names = {"requirements.txt": declared()["dependencies"]}
    names["requirements-dev.txt"] = names["requirements.txt"] + declared()["dev"]
    for name, wanted in names.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        if not text.startswith(heading()):
            found.append(f"{name} was compiled from other dependencies: run .venv/bin/python script/requirements.py")
        pinned = {line.split("==")[0].split("[")[0].lower().replace("_", "-") for line in text.splitlines() if re.match(r"[\w.-]+(\[.*\])?==", line)}
        missing = {re.split(r"[\[~=<> ]", entry)[0].lower().replace("_", "-") for entry in wanted} - pinned
        if missing:
            found.append(f"{name} pins no version of {', '.join(sorted(missing))}")
    return found


def main() -> None:
    if "--check" not in sys.argv:
        compile_all()
        return
    problems = outdated()
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
