"""The Celery worker with beat, in one process: threads do the work, a thread keeps the schedule.

Celery's own `-B` forks a process for beat, which outlives a worker killed by -9 and then runs the schedule twice.
https://docs.celeryq.dev/en/stable/userguide/extending.html#worker-bootsteps
"""

import signal
import tempfile
import warnings
from typing import Any

from celery import bootsteps
from celery.beat import EmbeddedService
from celery.exceptions import SecurityWarning
from celery.signals import worker_ready
from django.conf import settings

from oneapi_site.celery import app
from oneapi_site.parent import tie_to_parent

THREADS = "4"


class Schedule(bootsteps.StartStopStep):
    """Beat as a thread of the worker."""

    label = "Beat"

    def create(self, worker: Any) -> Any:
        return EmbeddedService(worker.app, thread=True, scheduler_cls=settings.CELERY_BEAT_SCHEDULER)

    def stop(self, parent: Any) -> None:
        """Writes down what ran last, and does not wait for the thread to wake: it may sleep for seconds, and dies with the process."""
        self.obj.service.scheduler.sync()
        self.obj.service.stop(wait=False)


@worker_ready.connect
def leave_interrupts_to_the_supervisor(**_: Any) -> None:
    """A terminal's Ctrl-C reaches every process; only the supervisor's SIGTERM counts, which lets running tasks finish."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> None:
    """Entry point: `python -m oneapi_site.worker`."""
    tie_to_parent()
    tempfile.tempdir = str(settings.BROKER_DIR)  # where the file-system broker moves a message that it hands out
    app.steps["worker"].add(Schedule)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    warnings.filterwarnings("ignore", category=SecurityWarning)  # about root and pickle, which is not accepted
    app.worker_main(["--quiet", "worker", "--pool", "threads", "--concurrency", THREADS, "--loglevel", settings.LOG_LEVEL.upper(), *quiet])


if __name__ == "__main__":
    main()
