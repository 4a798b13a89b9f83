"""Who a key stands for, and why a key that exists may still be refused."""

import ipaddress
from typing import Any

import pytest

from gateway.keys import authenticate, authorize
from tests.gateway.known import KEY, NOW, snapshot, token, user
from wire.errors import AddressForbidden, ChannelPinForbidden, Forbidden, ModelForbidden, Unauthorized, UserBanned

HERE = "203.0.113.7"


@pytest.mark.parametrize("key", [KEY.encode(), KEY[3:].encode()])
def test_a_key_names_token_user_and_group(key: bytes) -> None:
    caller = authenticate(key, HERE, snapshot(), NOW)

    assert (caller.token.id, caller.user.username, caller.group.name, caller.client_ip, caller.pinned_channel) == (1, "alice", "default", HERE, None)


def test_the_tokens_group_goes_before_its_users() -> None:
    caller = authenticate(KEY.encode(), HERE, snapshot(token(group_id=2)), NOW)

    assert (caller.group.name, caller.group.ratio_ppm) == ("vip", 500_000)


@pytest.mark.parametrize("changes", [{"enabled": False}, {"expires_at": NOW}, {"expires_at": NOW - 1}, {"user_id": 99}, {"group_id": 99}])
def test_a_token_that_is_not_in_force_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Unauthorized) as refusal:
        authenticate(KEY.encode(), HERE, snapshot(token(**changes)), NOW)

    assert (refusal.value.status, refusal.value.code) == (401, "invalid_api_key")


def test_a_token_serves_up_to_its_expiry() -> None:
    assert authenticate(KEY.encode(), HERE, snapshot(token(expires_at=NOW + 0.1)), NOW).token.id == 1


def test_a_banned_user_is_refused() -> None:
    with pytest.raises(UserBanned):
        authenticate(KEY.encode(), HERE, snapshot(users=(user(active=False),)), NOW)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"])
def test_an_address_within_the_tokens_networks_passes(address: str) -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))

    assert authenticate(KEY.encode(), address, snapshot(token(subnets=networks)), NOW).client_ip == address


@pytest.mark.parametrize("address", ["11.0.0.1", "::ffff:11.0.0.1", "2001:db9::1", "", "unknown"])
def test_any_other_address_is_refused(address: str) -> None:
    networks = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))

    with pytest.raises(AddressForbidden):
        authenticate(KEY.encode(), address, snapshot(token(subnets=networks)), NOW)


def test_an_administrator_may_force_a_channel() -> None:
    caller = authenticate(f"{KEY}-17".encode(), HERE, snapshot(users=(user(staff=True),)), NOW)

    assert caller.pinned_channel == 17


def test_nobody_else_may_force_a_channel() -> None:
    with pytest.raises(ChannelPinForbidden) as refusal:
        authenticate(f"{KEY}-17".encode(), HERE, snapshot(), NOW)

    assert refusal.value.status == 403


def test_a_token_opens_its_own_models_only() -> None:
    caller = authenticate(KEY.encode(), HERE, snapshot(token(models=frozenset({"gpt-4o"}))), NOW)

    authorize(caller, "gpt-4o")
    with pytest.raises(ModelForbidden) as refusal:
        authorize(caller, "gpt-4")
    assert isinstance(refusal.value, Forbidden)


def test_a_token_without_models_opens_all() -> None:
    authorize(authenticate(KEY.encode(), HERE, snapshot(), NOW), "whatever")
