"""Keeps the server's children: relay processes (oneapi_site/web.py) and the Celery worker (oneapi_site/worker.py).

`manage.py serve` prepares everything and then becomes this process, which imports the standard library only and costs 10 MB instead of 110.
A child that dies is started again. One that refuses to start (exit code 3), or dies three times in a row within QUICK seconds, takes the server
down with exit code 1, unless another of its kind stays up: one relay process that a request kills again and again must not stop the others.
SIGTERM or SIGINT stops all children, which have `--patience` seconds for what is in flight; a second signal kills them.
The lock on the data folder and the listening socket are inherited: the lock lasts as long as any child, and a child started again finds its
callers waiting.
"""

import argparse
import os
import select
import signal
import subprocess
import sys
import time
from typing import NoReturn

REFUSED = 3  # exit code of a child that must not be started again
QUICK = 30.0  # seconds within which a death counts as one at the start
TRIES = 3
GRACE = 15.0  # seconds beyond --patience in which a child commits and leaves


def say(text: str) -> None:
    """A line for the operator."""
    print(text, file=sys.stderr, flush=True)


class Child:
    """One process that should be running."""

    def __init__(self, name: str, module: str, arguments: list[str], keep: tuple[int, ...]) -> None:
        self.name = name
        self.command = [sys.executable, "-m", module, *arguments]
        self.keep = keep
        self.deaths = 0
        self.due = 0.0
        self.failed = False  # it does not stay up
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, with the descriptors that it inherits."""
        self.started = time.monotonic()
        self.process = subprocess.Popen(self.command, pass_fds=self.keep)  # noqa: S603  a fixed list, no shell

    def died(self) -> int | None:
        """The exit code if it has ended since it was last asked; a negative one is a signal."""
        code = self.process.poll() if self.process else None
        if code is not None:
            self.process = None
            self.deaths = self.deaths + 1 if time.monotonic() - self.started < QUICK else 1
            self.failed = code == REFUSED or self.deaths >= TRIES
            self.due = time.monotonic() + min(2.0 ** (self.deaths - 1), 5.0) - 1.0
        return code


class Supervisor:
    """Starts, watches and stops the children."""

    def __init__(self, children: list[Child], patience: float, listener: int) -> None:
        self.children = children
        self.patience = patience
        self.listener = listener
        self.signals, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float) -> bool:
        """Sleeps until a signal or the time is over; whether a stop is asked for."""
        if not select.select([self.signals], [], [], seconds)[0]:
            return False
        arrived = os.read(self.signals, 256)
        return bool({signal.SIGTERM, signal.SIGINT} & set(arrived))

    def run(self) -> int:
        """Until a stop is asked for or a child cannot be kept alive; gives back the exit code."""
        for child in self.children:
            child.start()
        while not self.wait(0.5):
            for child in self.children:
                if not self.keep_alive(child):
                    self.stop()
                    return 1
        return self.stop()

    def keep_alive(self, child: Child) -> bool:
        """Starts the child again if it died; whether it can be kept."""
        code = child.died()
        if code is not None:
            say(f"The {child.name} process ended with {f'signal {-code}' if code < 0 else f'code {code}'}.")
            if all(other.failed for other in self.children if other.name == child.name):
                say(f"The server stops: its {child.name} process does not stay up. The lines above say why.")
                return False
        if child.process is None and time.monotonic() >= child.due:
            child.start()
        elif child.failed and child.process is not None and time.monotonic() - child.started >= QUICK:
            child.failed = False
        return True

    def stop(self) -> int:
        """Stops all children: 0 if each left by itself, else 1."""
        os.close(self.listener)
        running = [child.process for child in self.children if child.process]
        for process in running:
            process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self.patience + GRACE
        while any(process.poll() is None for process in running):
            if self.wait(0.2) or time.monotonic() > deadline:
                break
        late = [process for process in running if process.poll() is None]
        for process in late:
            process.kill()
        for process in running:
            process.wait()
        if late:
            say(f"{len(late)} processes did not stop in time and were killed.")
        return 1 if late else 0


def main() -> NoReturn:
    """Entry point: `python -m oneapi_site.supervisor`; serve.py writes its arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--lock", type=int, default=-1)
    parser.add_argument("--web", type=int, default=1)
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("--patience", type=float, default=30.0)
    options = parser.parse_args()
    lock = () if options.lock < 0 else (options.lock,)
    web = ["--listener", str(options.listener)]
    children = [Child("web", "oneapi_site.web", web, (options.listener, *lock)) for _ in range(options.web)]
    if options.worker:
        children.append(Child("worker", "oneapi_site.worker", [], lock))
    sys.exit(Supervisor(children, options.patience, options.listener).run())


if __name__ == "__main__":
    main()
