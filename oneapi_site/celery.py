"""The Celery app. Work is a row in the database and a message only wakes a worker: the file-system broker forgets what it delivered."""

import os

from celery import Celery
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "oneapi_site.settings")

app = Celery("oneapi")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: object) -> None:
    """Celery configures no loggers of its own: settings.py has done it."""
