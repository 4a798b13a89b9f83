"""`script/bench`: the gateway beside the bare relay, the mock upstream alone and nginx, in one run on one machine.

Plain answers, streams of 100 chunks, prompts of 64 KB, and (with --open) many streams that are open at once. CPU is that of the process trees,
PostgreSQL's included, so that the ratio to the bare relay survives a slow or busy machine. A run whose successes are not what the mock has
counted does not count, and an audit follows each gateway. Targets: 1.0 (plain) and 0.75 (stream) times the bare relay's CPU a request.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.load.targets import Mock, Target, each, mock

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
REPORT = ROOT / "docs/benchmarks.md"
UNIT = "bare relay"
GAP = "100ms"  # between the chunks of open streams


class Case(NamedTuple):
    """One kind of load. `flags` are the load generator's; `slow` asks for the upstream that takes its time."""

    name: str
    flags: tuple[str, ...] = ()
    connections: int | None = None
    slow: bool = False


CASES = [Case("plain"), Case("stream of 100", ("-stream",)), Case("prompt of 64 KB", ("-prompt-bytes", "65536")), Case("plain, one at a time", (), 1)]
OPEN = [Case(f"{count:,} open streams", ("-stream",), count, slow=True) for count in (500, 2000)]


@dataclass
class Figures:
    """What the load generator saw of one target under one case; `cpu_us` is per request."""

    target: str
    case: str
    values: dict[str, float]
    note: str = ""


def build(folder: Path) -> tuple[Path, Path]:
    """The mock upstream and the load generator, compiled."""
    for name in ("mock", "load"):
        subprocess.run(["go", "build", "-o", str(folder / name), f"./{name}"], cwd=HERE, check=True)
    return folder / "mock", folder / "load"


def measure(load: Path, target: Target, case: Case, upstream: Mock, options: argparse.Namespace) -> Figures:
    """One run of the load generator."""
    command = [str(load), "-url", f"{target.url}/v1/chat/completions", "-key", target.key, "-c", str(case.connections or options.connections)]
    seconds = max(options.seconds, 15) if case.slow else options.seconds
    command += ["-d", f"{seconds}s", "-pid", ",".join(map(str, target.pids)), *case.flags, *(["-warm", "1s"] if case.slow else [])]
    upstream.served()
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    values = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", output)}
    served = upstream.served()
    note = "" if values["bad"] == 0 else f"{values['bad']:.0f} failed"
    if served < values["ok"]:
        note = f"the upstream served only {served}"
    figures = Figures(target.name, case.name, values, note)
    shown = "  ".join(f"{name} {value:g}" for name, value in values.items())
    print(f"{target.name:34} {case.name:22} {shown}  {note}", flush=True)
    return figures


def audited(target: Target) -> str:
    """The audit's verdict on a gateway; nothing of others."""
    if target.server is None:
        return ""
    found = json.loads(target.server.manage("audit", "--json", check=False).stdout)
    verdict = f"{target.name}: {found['charges']:,} charges, audit {'clean' if found['ok'] else 'NOT CLEAN'}"
    print(verdict, flush=True)
    return verdict


def run(options: argparse.Namespace, folder: Path) -> tuple[list[Figures], list[str]]:
    """All figures, and the audits' verdicts."""
    mock_binary, load = build(folder)
    found: list[Figures] = []
    audits: list[str] = []
    others = [Target(name, url, [], key) for name, url, key in options.other]
    for cases, flags in ((CASES, ()), (OPEN if options.open else [], ("-gap", GAP))):
        if not cases:
            continue
        with mock(mock_binary, *flags) as upstream, each(upstream, folder, options.databases, options.processes, others) as targets:
            for target in targets:
                found += [measure(load, target, case, upstream, options) for case in cases]
                audits.append(audited(target))
    return found, [line for line in audits if line]


def table(found: list[Figures]) -> list[str]:
    """The figures as Markdown, a table a case, with ratios to the bare relay."""
    lines: list[str] = []
    for case in dict.fromkeys(one.case for one in found):
        rows = [one for one in found if one.case == case]
        unit = next((one.values.get("cpu_us", 0.0) for one in rows if one.target == UNIT), 0.0)
        streamed = "ttfb_p50_ms" in rows[0].values
        lines += [f"## {case}", "", f"| | requests/s | p50 / p95 / p99 ms |{' first token ms |' if streamed else ''} CPU µs | × bare | memory MB | |"]
        lines += ["|---|---:|---:|" + ("---:|" if streamed else "") + "---:|---:|---:|---|"]
        for one in rows:
            value = one.values.get
            cpu = value("cpu_us")
            cells = [one.target, f"{value('rps', 0.0):,.0f}", f"{value('p50_ms', 0.0):.1f} / {value('p95_ms', 0.0):.1f} / {value('p99_ms', 0.0):.1f}"]
            cells += [f"{value('ttfb_p50_ms', 0.0):.1f}"] if streamed else []
            cells += ["–" if cpu is None else f"{cpu:.0f}", f"{cpu / unit:.2f}" if cpu and unit else "–", f"{value('rss_mb', 0.0):.0f}", one.note]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    return lines


def machine() -> str:
    """What the figures were measured on."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("uvicorn", "uvloop", "httptools", "aiohttp", "psycopg"))
    return (
        f"{os.cpu_count()} × {model[1] if model else platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}, {versions}"
    )


def write(found: list[Figures], audits: list[str], options: argparse.Namespace) -> None:
    """docs/benchmarks.md, from the figures alone."""
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    intro = [
        "# Benchmarks", "", f"Written by `script/bench --write` on {day}: {machine()}.",
        f"Load generator, mock upstream and database share the machine; {options.connections} connections and {options.seconds} s a run unless said",
        "otherwise. With everything on: keys, a token's limit and a wallet that are asked, the ledger, the usage log; the end of each answer waits",
        "for its commit.",
        "CPU is per request, PostgreSQL's share included; compare ratios to the bare relay (uvicorn and aiohttp, no logic), not machines.", "",
    ]  # fmt: skip
    REPORT.write_text("\n".join([*intro, *table(found), "## Audits", "", *(f"- {line}" for line in audits), ""]), encoding="utf-8")


def other(text: str) -> tuple[str, str, str]:
    """NAME=URL,KEY"""
    name, _, rest = text.partition("=")
    url, _, key = rest.partition(",")
    if not (name and url.startswith("http") and key):
        raise argparse.ArgumentTypeError("must be NAME=URL,KEY")
    return name, url.rstrip("/"), key


def main() -> None:
    parser = argparse.ArgumentParser(prog="script/bench", description=__doc__)
    parser.add_argument("--seconds", type=int, default=10, help="of each run (default: 10)")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--databases", type=lambda text: text.split(","), default=["sqlite", "postgres"], metavar="sqlite,postgres")
    parser.add_argument(
        "--processes", type=lambda text: [int(one) for one in text.split(",")], default=[1, 2, 4], help="on PostgreSQL (default: 1,2,4)"
    )
    parser.add_argument("--open", action="store_true", help="also 500 and 2,000 open streams")
    parser.add_argument("--other", type=other, action="append", default=[], metavar="NAME=URL,KEY", help="another gateway, that serves gpt-4o-mini")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oneapi-bench-") as folder:
        found, audits = run(options, Path(folder))
    print("\n".join(table(found)))
    if options.write:
        write(found, audits, options)


if __name__ == "__main__":
    main()
