"""Days, weeks and months of a time zone, also where clocks change at midnight."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from billing.periods import PERIODS, Calendar, day_after, first_day

ZONES = ("UTC", "Asia/Shanghai", "America/Sao_Paulo", "Asia/Beirut", "America/Havana", "Pacific/Apia", "Australia/Lord_Howe", "Europe/Berlin")


def at(text, zone):
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.sampled_from(PERIODS))
def test_every_day_lies_in_one_period(day, period):
    first = first_day(period, day)
    assert first <= day < day_after(period, first)
    assert first_day(period, day_after(period, first)) == day_after(period, first)


@given(st.integers(631152000, 4102444800), st.sampled_from(ZONES), st.integers(0, 90 * 86400))
def test_the_running_periods_hold_the_moment_and_end_where_the_next_begins(now, zone, later):
    calendar = Calendar(ZoneInfo(zone))
    for moment in (now, now + later, now):  # a clock may go back
        for period, running in calendar.running(moment).items():
            assert moment < running.ends
            assert first_day(period, datetime.fromtimestamp(moment, ZoneInfo(zone)).date()).isoformat() == running.first
            following = Calendar(ZoneInfo(zone)).running(running.ends)[period]
            assert following.first > running.first
            assert Calendar(ZoneInfo(zone)).running(running.ends - 0.001)[period].first == running.first


def test_the_zone_decides_the_day():
    moment = at("2026-11-30T20:00:00", "UTC")
    assert {period: running.first for period, running in Calendar(ZoneInfo("Asia/Shanghai")).running(moment).items()} == {
        "day": "2026-12-01", "week": "2026-11-30", "month": "2026-12-01"
    }  # fmt: skip
    assert {period: running.first for period, running in Calendar(UTC).running(moment).items()} == {
        "day": "2026-11-30", "week": "2026-11-30", "month": "2026-11-01"
    }  # fmt: skip


def test_a_day_without_a_midnight_begins_when_the_clocks_change():
    # Sao Paulo, 4 November 2018: 00:00 did not exist; https://www.iana.org/time-zones
    before = Calendar(ZoneInfo("America/Sao_Paulo")).running(at("2018-11-03T23:30:00", "America/Sao_Paulo"))["day"]
    assert before.ends == at("2018-11-04T01:00:00", "America/Sao_Paulo")
