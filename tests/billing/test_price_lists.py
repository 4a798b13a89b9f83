"""The price table is filled from the lists that come with the program, and operators' prices stay theirs."""

import datetime
import json
import subprocess
import sys
import tomllib
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from billing.catalogue import CHINA, catalogue, load
from billing.models import ModelPrice
from billing.pricing import MILLION, charge, price_from
from wire.usage import Usage

pytestmark = pytest.mark.django_db
NOW = datetime.datetime(2026, 11, 24, 3, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def entries() -> dict[str, Any]:
    return catalogue(NOW)


@pytest.fixture
def loaded(entries: dict[str, Any]) -> None:
    load(entries.values())


@pytest.mark.parametrize(
    ("model", "prices"),
    [
        ("gpt-4o-mini", {"input": "0.15", "cached": "0.075", "output": "0.60"}),
        ("gpt-4o-mini-2024-07-18", {"input": "0.15", "output": "0.60"}),
        ("gpt-35-turbo", {"input": "0.50", "output": "1.50"}),
        ("claude-sonnet-4-5-20250929", {"input": "3", "cached": "0.3", "cache_write_5m": "3.75", "cache_write_1h": "6", "output": "15"}),
        ("anthropic.claude-3-haiku-20240307-v1:0", {"input": "0.25", "output": "1.25"}),
        ("gemini-2.5-flash", {"input": "0.30", "audio_in": "1", "output": "2.50"}),
        ("text-embedding-3-small", {"input": "0.02", "output": "0"}),
        ("omni-moderation-latest", {"input": "0", "output": "0"}),
        ("echo", {"input": "0.15", "output": "0.60"}),
    ],
)
def test_well_known_models_have_their_makers_price(loaded: None, model: str, prices: dict[str, str]) -> None:
    row = ModelPrice.objects.get(model=model)

    assert {name: getattr(row, name) for name in prices} == {name: int(float(usd) * 1_000_000) * 1000 for name, usd in prices.items()}


def test_every_row_can_be_priced_and_says_where_it_is_from(loaded: None) -> None:
    for row in ModelPrice.objects.values():
        price = price_from(row)
        assert charge(price, Usage(input=1000, cached=1000, output=1000), MILLION).amount >= 0
        assert row["source_date"] is not None or row["model"] == "echo"
    assert ModelPrice.objects.count() > 2000


def test_tiers_are_whole_price_lists_above_their_threshold(entries: dict[str, Any]) -> None:
    (tier,) = entries["gemini-2.5-pro"].tiers

    assert tier == {"above": 200_000, "input": 2_500_000_000, "cached": 250_000_000, "output": 15_000_000_000}


def test_a_window_that_its_own_tiers_exceed_is_not_believed(entries: dict[str, Any]) -> None:
    for entry in entries.values():
        assert entry.context_limit is None or all(tier["above"] < entry.context_limit for tier in entry.tiers) or entry.source == "prices_cn"


def test_prices_do_not_depend_on_the_hour(entries: dict[str, Any]) -> None:
    night = catalogue(NOW.replace(hour=20))

    assert {name: entry.prices for name, entry in night.items()} == {name: entry.prices for name, entry in entries.items()}


def test_yuan_are_converted_at_the_lists_own_rate(entries: dict[str, Any]) -> None:
    listed = tomllib.loads(CHINA.read_text(encoding="utf-8"))

    assert listed["cny_per_usd"] == "7"
    assert entries["ERNIE-4.0-8K"].prices["input"] == 17_142_857_143
    assert entries["qwen-max"].prices["input"] == 1_600_000_000
    assert all(provider["source"].startswith("https://") and provider["date"] <= NOW.date() for provider in listed["provider"])


def test_nothing_that_costs_is_given_away(entries: dict[str, Any]) -> None:
    free = [name for name, entry in entries.items() if not any(entry.prices.values())]

    assert [name for name in free if "moderation" not in name and not name.endswith(":free")] == []


def test_an_operators_price_is_never_overwritten(entries: dict[str, Any]) -> None:
    ModelPrice.objects.create(model="gpt-4o-mini", input=1, output=2)
    ModelPrice.objects.create(model="echo", input=3, output=4)

    done = load(entries.values())

    assert done.kept == 1
    assert list(ModelPrice.objects.filter(model__in=["gpt-4o-mini", "echo"]).order_by("model").values_list("input", "output")) == [(3, 4), (1, 2)]


def test_a_second_load_changes_only_what_differs(entries: dict[str, Any], loaded: None) -> None:
    ModelPrice.objects.filter(model="gpt-4o").update(input=1)

    done = load(entries.values())

    assert (done.created, done.changed, done.unchanged) == (0, 1, len(entries) - 1)
    assert ModelPrice.objects.get(model="gpt-4o").input == 2_500_000_000


def test_the_command_says_what_it_did() -> None:
    out = StringIO()

    call_command("load_prices", "--json", stdout=out)

    assert json.loads(out.getvalue())["created"] > 2000


def test_no_other_module_of_billing_imports_the_catalogue() -> None:
    code = "import django, sys; django.setup(); import billing.wallets, billing.redeem, billing.audit, billing.reports, billing.tokens; "
    done = subprocess.run([sys.executable, "-c", code + "print('genai_prices' in sys.modules)"], capture_output=True, text=True, check=True)

    assert done.stdout.split()[-1] == "False"
