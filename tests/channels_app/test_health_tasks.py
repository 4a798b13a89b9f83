"""Health tests in the background: one task a channel, for every channel that is enabled."""

import pytest

from channels_app import tasks
from channels_app.channels import add_channel, disable_channel
from channels_app.models import Channel, ChannelState
from oneapi_site.celery import app
from tests.upstream.server import KEY

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def at_once():
    """Tasks run where they are queued: no broker."""
    app.conf.task_always_eager, before = True, app.conf.task_always_eager
    yield
    app.conf.task_always_eager = before


def added(upstream, name):
    return add_channel("custom", name, base_url=upstream.url, keys=[KEY], models=["gpt-4o-mini"])


def test_every_enabled_channel_is_tested_and_a_bad_one_stops_no_other(upstream):
    good, bad, also_good, disabled, deleted = (added(upstream, name) for name in ("a", "b", "c", "d", "e"))
    disable_channel(disabled)
    Channel.objects.filter(pk=deleted.pk).update(deleted_at="2026-01-01T00:00:00Z")
    Channel.objects.filter(pk=bad.pk).update(extra_headers="no JSON")
    tasks.test_all.delay()
    errors = dict(ChannelState.objects.values_list("channel_id", "test_error"))
    assert set(errors) == {good.pk, bad.pk, also_good.pk}
    assert errors[good.pk] == errors[also_good.pk] == ""
    assert "cannot be read" in errors[bad.pk]
    assert upstream.served == 2


def test_a_channel_that_was_deleted_meanwhile_is_left_alone(upstream):
    made = added(upstream, "a")
    Channel.objects.filter(pk=made.pk).update(deleted_at="2026-01-01T00:00:00Z")
    tasks.test_channel.delay(made.pk)
    tasks.test_channel.delay(999_999)
    assert upstream.requests == []
