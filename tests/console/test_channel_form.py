"""A channel's form: keys go in and never come out, a new address demands them again, a stale form is refused (docs/security.md 2, 9, 16)."""

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Group
from channels_app.models import Channel, ChannelState
from tests.console.rows import channel, signed_in, superuser

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    return signed_in(superuser())


def fields(**changes: Any) -> dict[str, Any]:
    """A complete form for a new channel."""
    plain = {
        "provider": "openai", "name": "east", "base_url": "https://api.example/v1", "new_keys": "sk-one-key-1234\nsk-two-key-5678\nsk-one-key-1234",
        "model_names": "gpt-4o, gpt-4o-mini\no3-mini", "groups": [Group.objects.get(name="default").pk], "mapping": '{"gpt-4o": "my-deployment"}',
        "priority": "5", "weight": "2", "enabled": "on", "auto_disable": "on", "system_prompt": "", "settings": "", "test_model": "", "remark": "",
        "new_proxy": "", "new_headers": '{"X-Team": "a"}',
    }  # fmt: skip
    return {**plain, **changes}


def form_of(made: Channel, **changes: Any) -> dict[str, Any]:
    """The form of a saved channel, as a browser posts it back."""
    values = {
        "seen_version": made.version, "name": made.name, "base_url": made.base_url, "new_keys": "", "mapping": "", "priority": made.priority,
        "weight": made.weight, "new_headers": "", "model_names": "\n".join(made.model_names), "keys-TOTAL_FORMS": "0", "keys-INITIAL_FORMS": "0",
    }  # fmt: skip
    return {**fields(), **values, **changes}


def save(client: Client, made: Channel, **changes: Any) -> Any:
    return client.post(reverse("admin:channels_app_channel_change", args=[made.pk]), form_of(made, **changes))


def errors(answer: Any) -> str:
    assert answer.status_code == 200, "the form was saved"
    return str(answer.context["adminform"].form.errors.as_json())


def test_a_channel_is_added(client: Client) -> None:
    answer = client.post(reverse("admin:channels_app_channel_add"), fields())
    assert answer.status_code == 302, errors(answer)
    made = Channel.objects.get(name="east")
    assert made.model_names == ["gpt-4o", "gpt-4o-mini", "o3-mini"]
    assert made.mapping == {"gpt-4o": "my-deployment"}
    assert [key.secret for key in made.keys.all()] == ["sk-one-key-1234", "sk-two-key-5678"]
    assert made.extra_headers == '{"X-Team": "a"}'
    assert [group.name for group in made.groups.all()] == ["default"]


def test_saved_keys_are_never_shown_and_stay_where_none_is_entered(client: Client) -> None:
    made = channel()
    page = client.get(reverse("admin:channels_app_channel_change", args=[made.pk])).content.decode()
    assert "sk-upstream-canary" not in page
    answer = save(client, made, remark="checked")
    assert answer.status_code == 302, errors(answer)
    made.refresh_from_db()
    assert made.remark == "checked"
    assert [key.secret for key in made.keys.all()] == ["sk-upstream-canary-key-1"]


def test_new_keys_take_the_place_of_the_saved_ones_or_join_them(client: Client) -> None:
    made = channel()
    assert save(client, made, new_keys="sk-new-key-12345").status_code == 302
    assert [key.secret for key in made.keys.all()] == ["sk-new-key-12345"]
    made.refresh_from_db()
    assert save(client, made, new_keys="sk-more-key-12345", keep_keys="on").status_code == 302
    assert {key.secret for key in made.keys.all()} == {"sk-new-key-12345", "sk-more-key-12345"}


@pytest.mark.parametrize("address", ["https://thief.example/v1", "http://up.example/v1", "https://up.example:8443/v1", ""])
def test_another_address_demands_the_keys_again(client: Client, address: str) -> None:
    made = channel()
    assert "enter the keys again" in errors(save(client, made, base_url=address))
    assert "cannot be kept" in errors(save(client, made, base_url=address, new_keys="sk-mine-too-1234", keep_keys="on"))
    answer = save(client, made, base_url=address, new_keys="sk-for-the-new-host")
    assert answer.status_code == 302, errors(answer)
    assert [key.secret for key in made.keys.all()] == ["sk-for-the-new-host"]


def test_another_path_on_the_same_host_keeps_the_keys(client: Client) -> None:
    made = channel()
    assert save(client, made, base_url="https://UP.example/other/v1").status_code == 302


def test_another_address_demands_the_extra_headers_again(client: Client) -> None:
    made = channel(extra_headers='{"X-Secret": "canary"}')
    assert "extra headers again" in errors(save(client, made, base_url="https://thief.example", new_keys="sk-new-key-12345"))
    assert save(client, made, base_url="https://new.example", new_keys="sk-new-key-12345", drop_secrets="on").status_code == 302
    made.refresh_from_db()
    assert made.extra_headers == ""


def test_a_stale_form_is_refused_with_a_sentence(client: Client) -> None:
    made = channel()
    assert save(client, made, remark="first").status_code == 302
    answer = save(client, made, remark="second")
    assert "Somebody else changed this channel" in errors(answer)
    made.refresh_from_db()
    assert made.remark == "first"


def test_only_changed_fields_are_written(client: Client) -> None:
    """What the machine or a command wrote meanwhile to other columns is not undone."""
    made = channel()
    Channel.objects.filter(pk=made.pk).update(test_model="set by a command")
    form = form_of(made, remark="mine")
    assert form["test_model"] == ""
    made.refresh_from_db()
    answer = client.post(reverse("admin:channels_app_channel_change", args=[made.pk]), {**form, "test_model": "set by a command"})
    assert answer.status_code == 302
    made.refresh_from_db()
    assert (made.remark, made.test_model) == ("mine", "set by a command")


def test_an_old_form_does_not_enable_what_the_machine_disabled(client: Client) -> None:
    made = channel()
    state = ChannelState.objects.create(channel=made, status="disabled", reason="dead key")
    assert save(client, made, remark="x").status_code == 302
    state.refresh_from_db()
    assert state.status == "disabled"


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("mapping", "{", "no JSON"),
        ("mapping", "[1]", "JSON object"),
        ("mapping", '{"a": 1}', "must be a text"),
        ("mapping", '{"a": "b", "a": "c"}', "stands there twice"),
        ("mapping", "[" * 100_000, ""),
        ("settings", '{"nonsense": 1}', "knows no setting"),
        ("base_url", "ftp://x.example", "address such as"),
        ("base_url", "https://user:pass@x.example", "user name"),
        ("base_url", "http://169.254.169.254/latest", "metadata"),
        ("base_url", "http://metadata.google.internal/", "metadata"),
        ("new_keys", "", "needs a key"),
        ("new_proxy", "file:///etc/passwd", "proxy such as"),
        ("new_headers", '{"X": "a\\nb"}', "one line"),
        ("weight", "-1", ""),
        ("provider", "os.system", ""),
    ],
)
def test_what_is_wrong_is_said(client: Client, field: str, value: str, sentence: str) -> None:
    answer = client.post(reverse("admin:channels_app_channel_add"), fields(**{field: value}))
    found = answer.context["adminform"].form.errors.get(field, [])
    assert found
    assert sentence in " ".join(found)
    assert not Channel.objects.exists()


def test_two_channels_cannot_share_a_name(client: Client) -> None:
    channel("east")
    assert "Another channel" in errors(client.post(reverse("admin:channels_app_channel_add"), fields()))


def test_fields_that_the_form_does_not_have_change_nothing(client: Client) -> None:
    made = channel()
    assert save(client, made, version="77", deleted_at="2026-01-01 00:00:00", proxy="http://evil", extra_headers="{}", id="5").status_code == 302
    made.refresh_from_db()
    assert (made.version, made.deleted_at, made.proxy) == (1, None, "")
