"""Health tests in the background; a schedule of the admin may run them, none does by default: each one costs a fraction of a cent."""

import structlog
from celery import shared_task

from channels_app import health
from channels_app.models import Channel

log = structlog.get_logger(__name__)


@shared_task(name="channels_app.tasks.test_channel")
def test_channel(channel_id: int) -> None:
    """Tests one channel; one that was deleted meanwhile is left alone."""
    channel = Channel.objects.filter(pk=channel_id, deleted_at__isnull=True).first()
    if channel is None:
        return
    outcome = health.test_channel(channel)
    log.info("channel.tested", channel=channel_id, model=outcome.model, ms=outcome.response_ms, error=outcome.error)


@shared_task(name="channels_app.tasks.test_all")
def test_all() -> None:
    """Queues a test of each enabled channel: one task each, so that workers share them."""
    for channel_id in Channel.objects.filter(enabled=True, deleted_at__isnull=True).values_list("pk", flat=True):
        test_channel.delay(channel_id)
