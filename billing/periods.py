"""The periods that budgets run in: days, weeks from Monday on, and months, by the clock of one time zone. No Django."""

import datetime
from typing import NamedTuple

PERIODS = ("day", "week", "month")


class Running(NamedTuple):
    """A period under way: its first day (ISO 8601), which names its balances, and the Unix time at which the next one begins."""

    first: str
    ends: float


def period_of(kind: str) -> str:
    """The period of a budget's kind: `day` of `user_day`."""
    return kind.partition("_")[2]


def owner_of(kind: str) -> str:
    """Whose a budget of that kind is: `user` of `user_day`."""
    return kind.partition("_")[0]


def first_day(period: str, day: datetime.date) -> datetime.date:
    """The first day of the period that a day lies in."""
    if period == "week":
        return day - datetime.timedelta(days=day.weekday())
    return day.replace(day=1) if period == "month" else day


def day_after(period: str, first: datetime.date) -> datetime.date:
    """The first day of the period after the one that begins with `first`."""
    if period == "month":
        return (first + datetime.timedelta(days=31)).replace(day=1)
    return first + datetime.timedelta(days=7 if period == "week" else 1)


class Calendar:
    """The periods under way in a time zone, worked out once a day."""

    def __init__(self, zone: datetime.tzinfo) -> None:
        self._zone = zone
        self._since = self._until = 0.0
        self._running: dict[str, Running] = {}

    def running(self, now: float) -> dict[str, Running]:
        """{period: what of it is under way} at a Unix time, which may also go back."""
        if not self._since <= now < self._until:
            today = datetime.datetime.fromtimestamp(now, self._zone).date()
            self._since, self._until = self._midnight(today), self._midnight(day_after("day", today))
            self._running = {period: self._of(period, first_day(period, today)) for period in PERIODS}
        return self._running

    def _of(self, period: str, first: datetime.date) -> Running:
        return Running(first.isoformat(), self._midnight(day_after(period, first)))

    def _midnight(self, day: datetime.date) -> float:
        # Where clocks are put forward at midnight there is none; this is then the moment at which they are.
        return datetime.datetime.combine(day, datetime.time(), self._zone).timestamp()
