"""Keeps the server's children: relay processes (oneapi_site/web.py) and the Celery worker (oneapi_site/worker.py).

`manage.py serve` prepares everything and then becomes this process, which imports the standard library only and costs 10 MB instead of 110.
A child that dies is started again. One that refuses to start (exit code 3), or dies three times in a row within QUICK seconds, takes the server
down with exit code 1, unless another of its kind stays up: one relay process that a request kills again and again must not stop the others.
SIGTERM or SIGINT stops all children, which have `--patience` seconds for what is in flight; a second signal kills them.
SIGHUP replaces all children, one after the other, so that new code on the disk is run. A relay process gets its successor first, and leaves
when that serves; its callers are told to connect anew, and its streams have `--patience` seconds. Where two relay processes at once are one too
many (no `--overlap`: SQLite), the old one leaves first, and callers wait at the socket.
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

    def __init__(self, name: str, module: str, arguments: list[str], keep: tuple[int, ...], *, tells: bool = False) -> None:
        """`tells`: it says by a byte on the descriptor `--ready` that it serves."""
        self.name = name
        self.module = module
        self.arguments = arguments
        self.keep = keep
        self.tells = tells
        self.ready = -1
        self.replaced = False  # its end was asked for, and is no death
        self.deaths = 0
        self.due = 0.0
        self.failed = False  # it does not stay up
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, with the descriptors that it inherits."""
        self.started = time.monotonic()
        command, keep, writer = [sys.executable, "-m", self.module, *self.arguments], self.keep, -1
        if self.tells:
            self.forget_pipe()
            self.ready, writer = os.pipe()
            command += ["--ready", str(writer)]
            keep = (*keep, writer)
        self.process = subprocess.Popen(command, pass_fds=keep)  # noqa: S603  a fixed list, no shell
        if writer >= 0:
            os.close(writer)

    def serves(self) -> bool:
        """Whether it has said so; one that says nothing does as soon as it runs."""
        if self.ready < 0 or (select.select([self.ready], [], [], 0)[0] and os.read(self.ready, 1)):
            self.forget_pipe()
            return self.process is not None
        return False

    def forget_pipe(self) -> None:
        """What it says is of no interest any more."""
        if self.ready >= 0:
            os.close(self.ready)
            self.ready = -1

    def successor(self) -> "Child":
        """Another of its kind, not yet started."""
        return Child(self.name, self.module, self.arguments, self.keep, tells=self.tells)

    def died(self) -> int | None:
        """The exit code if it has ended since it was last asked; a negative one is a signal."""
        code = self.process.poll() if self.process else None
        if code is not None and self.replaced:
            self.process = None
            self.replaced, self.due = False, 0.0
            return None
        if code is not None:
            self.process = None
            self.deaths = self.deaths + 1 if time.monotonic() - self.started < QUICK else 1
            self.failed = code == REFUSED or self.deaths >= TRIES
            self.due = time.monotonic() + min(2.0 ** (self.deaths - 1), 5.0) - 1.0
        return code


class Supervisor:
    """Starts, watches and stops the children."""

    def __init__(self, children: list[Child], patience: float, listener: int, *, overlap: bool = False) -> None:
        self.children = children
        self.patience = patience
        self.listener = listener
        self.overlap = overlap
        self.to_replace: list[Child] = []
        self.next: Child | None = None  # the successor of the first of them
        self.leaving: list[tuple[subprocess.Popen[bytes], float]] = []  # until when each may take its time
        self.signals, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(number, lambda *_: None)

    def wait(self, seconds: float) -> bool:
        """Sleeps until a signal or the time is over; whether a stop is asked for."""
        if not select.select([self.signals], [], [], seconds)[0]:
            return False
        arrived = os.read(self.signals, 256)
        if signal.SIGHUP in arrived and not self.to_replace:
            say("SIGHUP: the processes are replaced, one after the other.")
            self.to_replace = list(self.children)
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
            self.replace()
        return self.stop()

    def replace(self) -> None:
        """One step of a rolling restart."""
        self.see_off()
        if not self.to_replace:
            return
        child = self.to_replace[0]
        if self.next is None and (not (self.overlap and child.tells) or child.process is None):
            child.replaced = child.process is not None
            self.ask_to_leave(child)
            self.to_replace.pop(0)
        elif self.next is None:
            self.next = child.successor()
            self.next.start()
        elif self.next.died() is not None:
            say(f"The new {child.name} process does not start; the old ones go on. The lines above say why.")
            self.next.forget_pipe()
            self.next, self.to_replace = None, []
        elif self.next.serves():
            if (process := self.ask_to_leave(child)) is not None:
                self.leaving.append((process, time.monotonic() + self.patience + GRACE))
            self.children[self.children.index(child)] = self.next
            self.next = None
            self.to_replace.pop(0)
        if not self.to_replace:
            say("SIGHUP: all processes were replaced, or leave and will be.")

    def ask_to_leave(self, child: Child) -> subprocess.Popen[bytes] | None:
        """Asks an old process to go: a relay process that serves in its own time, any other at once."""
        if child.process is not None:
            softly = child.tells and (child.ready < 0 or child.serves())
            child.process.send_signal(signal.SIGUSR1 if softly else signal.SIGTERM)
        return child.process

    def see_off(self) -> None:
        """Old processes that have left are forgotten, those that do not are killed."""
        for process, deadline in self.leaving:
            if time.monotonic() > deadline:
                process.kill()
        self.leaving = [(process, deadline) for process, deadline in self.leaving if process.poll() is None]

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
        running = [child.process for child in (*self.children, *([self.next] if self.next else [])) if child.process]
        running += [process for process, _ in self.leaving]
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
    parser.add_argument("--overlap", action="store_true")
    parser.add_argument("--patience", type=float, default=30.0)
    options = parser.parse_args()
    lock = () if options.lock < 0 else (options.lock,)
    web = ["--listener", str(options.listener)]
    children = [Child("web", "oneapi_site.web", web, (options.listener, *lock), tells=True) for _ in range(options.web)]
    if options.worker:
        children.append(Child("worker", "oneapi_site.worker", [], lock))
    sys.exit(Supervisor(children, options.patience, options.listener, overlap=options.overlap).run())


if __name__ == "__main__":
    main()
