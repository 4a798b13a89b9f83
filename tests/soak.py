"""`script/soak --minutes N [--seed S]`: long runs of the ledger's proofs. Prints a line a proof and ends with 1 at the first that fails.

A round tells stories of the model on both databases, and drives real processes through 20 random kills, a stop, an outage, a restart of the
database and a moved clock. Each round has a seed of its own; `--seed` begins with the one that a failed run has named.
"""

import argparse
import os
import random
import subprocess
import sys
import time
from typing import NamedTuple

STORIES = 240  # seconds of the model on each database in a round, at most
MODEL = "tests/billing/ledger/test_model.py"


class Proof(NamedTuple):
    """A pytest run: what it shows, its files, and the settings that it adds."""

    name: str
    files: tuple[str, ...]
    env: dict[str, str]


def proofs(seed: int, seconds: int) -> list[Proof]:
    """One round. `seconds` is what stories may take."""
    story = {"MODEL_SEED": str(seed), "MODEL_SECONDS": str(seconds)}
    return [
        Proof("stories on SQLite", (MODEL,), story),
        Proof("stories on PostgreSQL", (MODEL,), {**story, "DATABASE_URL": os.environ["TEST_DATABASE_URL"]}),
        Proof("four processes, 20 kills", ("tests/e2e/test_many_processes.py",), {"KILLS": "20", "KILL_SEED": str(seed)}),
        Proof("one process on each database", ("tests/e2e/test_money.py",), {}),
        Proof("outages", ("tests/e2e/test_database_outage.py", "tests/e2e/test_database_restart.py", "tests/e2e/test_wall_clock.py"), {}),
    ]


def holds(proof: Proof) -> bool:
    """Runs it; what it printed is shown where it fails."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--timeout", "0", *proof.files]
    done = subprocess.run(command, env={**os.environ, **proof.env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(f"{time.strftime('%H:%M:%S')}  {'ok' if done.returncode == 0 else 'FAILED':6}  {time.monotonic() - began:5.0f} s  {proof.name}", flush=True)
    if done.returncode:
        print(done.stdout[-20_000:])
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60, help="a proof that has begun is finished (default: 60)")
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    asked = parser.parse_args()
    seed, end = asked.seed, time.monotonic() + asked.minutes * 60
    while True:
        print(f"seed {seed}", flush=True)
        for proof in proofs(seed, min(STORIES, int(asked.minutes * 60 / 5))):
            if not holds(proof):
                print(f"To see it again: script/soak --seed {seed}")
                return 1
            if time.monotonic() > end:
                return 0
        seed += 100_000  # a round tells stories from its seed on


if __name__ == "__main__":
    sys.exit(main())
