"""What is loaded: tokens in force or not, users, groups, prices, and of channels those that may be used now."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import Group, User
from channels_app.models import Channel, ChannelKey, ChannelState
from gateway.models import Token
from gateway.snapshot import Snapshot
from gateway.snapshot_loader import load_snapshot
from tests.gateway.stored import alice, channel, default, issue, price

pytestmark = pytest.mark.django_db


def only_token(known: Snapshot) -> Any:
    (row,) = known.tokens.values()
    return row


def test_a_token_is_found_by_the_digest_of_its_key() -> None:
    token, key = issue()

    row = only_token(load_snapshot())

    assert (row.id, row.user_id, row.name, row.enabled, row.unlimited) == (token.pk, alice().pk, "t", True, True)
    assert key not in repr(row)


def test_a_tokens_restrictions_are_loaded() -> None:
    vip = Group.objects.create(name="vip")
    issue(models=["gpt-4o", "o1"], subnets=["10.0.0.0/8", "2001:db8::1"], group=vip, expires_at=datetime(2027, 1, 1, tzinfo=UTC))

    row = only_token(load_snapshot())

    assert (row.models, row.group_id, row.expires_at) == (frozenset({"gpt-4o", "o1"}), vip.pk, 1_798_761_600.0)
    assert [str(network) for network in row.subnets] == ["10.0.0.0/8", "2001:db8::1/128"]


def test_a_deleted_token_is_not_loaded() -> None:
    issue()
    Token.objects.update(deleted_at=timezone.now())

    assert load_snapshot().tokens == {}


@pytest.mark.parametrize("changes", [{"is_active": False}, {"deleted_at": timezone.now()}])
def test_a_banned_or_deleted_user_is_not_active(changes: dict[str, Any]) -> None:
    user = alice()
    assert load_snapshot().users[user.pk].active

    User.objects.update(**changes)

    assert not load_snapshot().users[user.pk].active


def test_groups_and_prices_are_loaded() -> None:
    group = Group.objects.create(name="half", ratio_ppm=500_000)
    price("o1", cached=5, context_limit=200_000, tiers=[{"above": 100, "input": 30}])

    known = load_snapshot()

    assert (known.groups[group.pk].name, known.groups[group.pk].ratio_ppm) == ("half", 500_000)
    assert (known.prices["o1"].input, known.prices["o1"].cached, known.prices["o1"].tiers[0].above) == (10, 5, 100)


def test_a_channel_is_loaded_with_its_secrets_open() -> None:
    row = channel(models=["a", "b"], mapping={"a": "there"}, priority=3, weight=7)
    Channel.objects.filter(pk=row.pk).update(proxy="http://proxy:1", extra_headers='{"X-Team": "7"}', system_prompt="Be kind.")

    known = load_snapshot()

    found = known.upstreams[row.pk]
    assert (found.name, found.provider, found.base_url, found.priority, found.weight) == ("one", "openai", "https://api.example.com", 3, 7)
    assert (found.models, found.groups, found.mapping) == (frozenset("ab"), frozenset({"default"}), {"a": "there"})
    assert [credential.secret for credential in found.keys] == ["sk-up-1", "sk-up-2"]
    assert (found.proxy, found.extra_headers, found.system_prompt) == ("http://proxy:1", (("X-Team", "7"),), "Be kind.")
    assert known.candidates("default", "a") == (found,)
    assert "sk-up" not in repr(found)


def disable(row: Channel) -> None:
    Channel.objects.filter(pk=row.pk).update(enabled=False)


def disable_automatically(row: Channel) -> None:
    ChannelState.objects.create(channel=row, status="disabled")


def disable_its_keys(row: Channel) -> None:
    ChannelKey.objects.filter(channel=row).update(enabled=False)


def disable_its_keys_one_way_and_the_other(row: Channel) -> None:
    first, second = row.keys.all()
    ChannelKey.objects.filter(pk=first.pk).update(enabled=False)
    ChannelState.objects.create(channel=row, key=second, status="disabled")


def forget_its_provider(row: Channel) -> None:
    Channel.objects.filter(pk=row.pk).update(provider="of a later version")


@pytest.mark.parametrize("act", [disable, disable_automatically, disable_its_keys, disable_its_keys_one_way_and_the_other, forget_its_provider])
def test_a_channel_that_may_not_be_used_is_known_by_its_id_alone(act: Any) -> None:
    row, other = channel(), channel("two")
    act(row)

    known = load_snapshot()

    assert list(known.upstreams) == [other.pk]
    assert known.disabled == {row.pk}


def test_a_dead_key_leaves_its_channel_the_others() -> None:
    row = channel()
    ChannelState.objects.create(channel=row, key=row.keys.first(), status="disabled")
    ChannelState.objects.create(channel=row, status="ok", response_ms=7)

    assert [credential.secret for credential in load_snapshot().upstreams[row.pk].keys] == ["sk-up-2"]


def test_a_deleted_channel_is_not_known_at_all() -> None:
    row = channel()
    Channel.objects.filter(pk=row.pk).update(deleted_at=timezone.now())

    known = load_snapshot()

    assert (known.upstreams, known.disabled) == ({}, set())


def test_the_echo_provider_needs_no_key() -> None:
    row = Channel.objects.create(provider="echo", name="echo", model_names=["echo"])
    row.groups.add(default())

    (credential,) = load_snapshot().upstreams[row.pk].keys

    assert (credential.id, credential.secret) == (0, "")
