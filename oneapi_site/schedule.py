"""The rows of django-celery-beat that a new installation starts with. Operators edit them in the admin; what is there is left as it is."""

from dataclasses import dataclass

from django.conf import settings
from django_celery_beat.models import CrontabSchedule, PeriodicTask


@dataclass(frozen=True)
class Entry:
    """A task, and hour and minute (in TZ) as crontab writes them."""

    name: str
    task: str
    hour: str
    minute: str
    description: str


ENTRIES = (
    Entry("Usage partitions", "billing.tasks.create_usage_partitions", "3", "10", "Creates the usage log's partitions two months ahead."),
    Entry("Audit", "billing.tasks.nightly_audit", "3", "30", "Proves that balances, leases and charges add up; a difference raises an alarm."),
    Entry("Expired holds", "billing.tasks.expire_overdue_holds", "*", "*/5", "Gives back money of work that brought no result in time."),
    Entry("Closed months", "billing.tasks.close_months", "4", "10", "Writes the sums of a month as checkpoints three days after its end."),
    Entry("Refused charges", "billing.tasks.report_refused_charges", "*", "15", "Raises an alarm for charges that could not be booked."),
    Entry("Counters", "billing.tasks.fold_dead_counters", "3", "20", "Folds the counters of processes that are gone into one row each."),
)


def ensure_schedule() -> list[str]:
    """Creates the rows that are missing; gives back their names."""
    missing = [entry for entry in ENTRIES if not PeriodicTask.objects.filter(name=entry.name).exists()]
    for entry in missing:
        crontab, _ = CrontabSchedule.objects.get_or_create(
            minute=entry.minute, hour=entry.hour, day_of_week="*", day_of_month="*", month_of_year="*", timezone=settings.TIME_ZONE
        )
        PeriodicTask.objects.create(name=entry.name, task=entry.task, crontab=crontab, description=entry.description)
    return [entry.name for entry in missing]
