"""What is done to channels from their list: enable, disable, delete; each is written in the history."""

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from channels_app.models import Channel, ChannelState
from tests.console.rows import channel, signed_in, superuser

pytestmark = pytest.mark.django_db


def act(name: str, made: Channel) -> None:
    answer = signed_in(superuser()).post(reverse("admin:channels_app_channel_changelist"), {"action": name, "_selected_action": [made.pk]})
    assert answer.status_code == 302
    made.refresh_from_db()


def test_enable_clears_the_automatic_status_too() -> None:
    made = channel(enabled=False)
    state = ChannelState.objects.create(channel=made, status="disabled", reason="dead")
    act("enable", made)
    state.refresh_from_db()
    assert (made.enabled, state.status, state.reason) == (True, "ok", "")
    assert LogEntry.objects.filter(object_id=str(made.pk)).exists()


def test_disable() -> None:
    made = channel()
    act("disable", made)
    assert not made.enabled


def test_delete_keeps_the_row_and_forgets_the_keys() -> None:
    made = channel()
    act("tombstone", made)
    assert made.deleted_at is not None
    assert not made.enabled
    assert not made.keys.exists()
    page = signed_in(superuser("other")).get(reverse("admin:channels_app_channel_changelist")).content.decode()
    assert "up.example" not in page


def test_nothing_is_deleted_for_good() -> None:
    made = channel()
    client = signed_in(superuser())
    assert client.post(reverse("admin:channels_app_channel_delete", args=[made.pk]), {"post": "yes"}).status_code == 403
    client.post(reverse("admin:channels_app_channel_changelist"), {"action": "delete_selected", "_selected_action": [made.pk], "post": "yes"})
    assert Channel.objects.filter(pk=made.pk).exists()
