"""A row that nobody can read opens nothing, and keeps no other row from being loaded."""

from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from billing.models import ModelPrice
from channels_app.models import Channel, ChannelKey
from gateway.models import Token
from gateway.snapshot_loader import load_snapshot
from tests.gateway.stored import channel, issue, price, run_sql

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "changes",
    [
        {"allowed_subnets": ["nonsense"]},
        {"allowed_subnets": "10.0.0.0/8"},
        {"allowed_subnets": [7]},
        {"allowed_subnets": {"10.0.0.0/8": True}},
        {"allowed_models": "gpt-4o"},
        {"allowed_models": [["gpt-4o"]]},
        {"allowed_models": 0},
    ],
)
def test_a_token_whose_restrictions_make_no_sense_opens_nothing(changes: dict[str, Any]) -> None:
    issue("bad")
    Token.objects.update(**changes)
    fine, _ = issue("fine")

    assert [row.id for row in load_snapshot().tokens.values()] == [fine.pk]


@pytest.mark.parametrize(
    "changes",
    [{"model_names": "gpt-4o"}, {"model_names": [1]}, {"mapping": []}, {"settings": 7}, {"extra_headers": "[1]"}, {"extra_headers": "{"}],
)
def test_a_channel_that_makes_no_sense_is_disabled(changes: dict[str, Any]) -> None:
    bad = channel("bad")
    Channel.objects.update(**changes)
    fine = channel("fine")

    known = load_snapshot()

    assert (list(known.upstreams), known.disabled) == ([fine.pk], {bad.pk})


@pytest.mark.parametrize(
    "cipher", ["garbage", "\u00e9", Fernet(Fernet.generate_key()).encrypt(b"sk-up").decode()], ids=["garbage", "no ASCII", "another key"]
)
@pytest.mark.parametrize("column", ["proxy", "extra_headers"])
def test_a_channel_whose_secret_does_not_open_is_disabled(column: str, cipher: str) -> None:
    bad, fine = channel("bad"), channel("fine")
    run_sql(f"UPDATE channels_app_channel SET {column} = '{cipher}' WHERE id = {bad.pk}")

    known = load_snapshot()

    assert (list(known.upstreams), known.disabled) == ([fine.pk], {bad.pk})


def test_a_key_that_does_not_open_leaves_its_channel_the_others() -> None:
    row = channel()
    first = ChannelKey.objects.values_list("pk", flat=True).earliest("pk")
    run_sql(f"UPDATE channels_app_channelkey SET secret = 'garbage' WHERE id = {first}")

    assert [credential.secret for credential in load_snapshot().upstreams[row.pk].keys] == ["sk-up-2"]


def test_a_price_whose_tiers_make_no_sense_is_none() -> None:
    price("bad")
    ModelPrice.objects.update(tiers=[{"above": "x"}])
    price("fine")

    assert list(load_snapshot().prices) == ["fine"]


def test_without_the_key_of_the_secrets_no_channel_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    row = channel()
    monkeypatch.setattr(settings, "FIELD_ENCRYPTION_KEYS", [Fernet.generate_key().decode()])

    known = load_snapshot()

    assert (known.upstreams, known.disabled) == ({}, {row.pk})
