"""Prices are entered in dollars per million tokens and kept in nano-dollars."""

from typing import Any

import pytest
from django.urls import reverse

from billing.models import ModelPrice
from tests.console.rows import signed_in, superuser

pytestmark = pytest.mark.django_db


def save(**changes: str) -> Any:
    return signed_in(superuser()).post(reverse("admin:billing_modelprice_add"), {"model": "m", "input": "2.5", "output": "10", **changes})


def test_dollars_become_nano_dollars() -> None:
    tiers = '[{"above": 200000, "input": 5, "output": "22.5"}]'
    assert save(cached="0.000000001", per_request="0.01", tiers=tiers, context_limit="128000").status_code == 302
    price = ModelPrice.objects.get()
    assert (price.input, price.output, price.cached, price.per_request) == (2_500_000_000, 10_000_000_000, 1, 10_000_000)
    assert price.tiers == [{"above": 200000, "input": 5_000_000_000, "output": 22_500_000_000}]
    assert (price.source, price.reasoning, price.per_tool_call) == ("operator", None, 0)


def test_what_is_shown_is_what_is_saved() -> None:
    save(tiers='[{"above": 9, "input": 5}]', cached="1.25")
    price = ModelPrice.objects.get()
    url = reverse("admin:billing_modelprice_change", args=[price.pk])
    client = signed_in(superuser("second"))
    form = client.get(url).context["adminform"].form
    posted = {name: form[name].value() for name in form.fields if form[name].value() is not None}
    assert posted["input"] == "2.50"
    assert client.post(url, posted).status_code == 302
    after = ModelPrice.objects.get()
    assert (after.input, after.cached, after.tiers) == (price.input, price.cached, price.tiers)


def test_saving_makes_a_price_the_operators_own() -> None:
    price = ModelPrice.objects.create(model="m", input=1, output=1, source="genai-prices", source_date="2026-01-01")
    signed_in(superuser()).post(reverse("admin:billing_modelprice_change", args=[price.pk]), {"model": "m", "input": "1", "output": "2"})
    price.refresh_from_db()
    assert (price.source, price.source_date, price.output) == ("operator", None, 2_000_000_000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input", ""), ("input", "-1"), ("input", "free"), ("input", "1000001"), ("output", "0.0000000001"), ("cached", "NaN"),
        ("tiers", "{"), ("tiers", "{}"), ("tiers", '[{"input": 1}]'), ("tiers", '[{"above": -1}]'), ("tiers", '[{"above": 1, "soup": 1}]'),
        ("tiers", '[{"above": 1, "input": -1}]'), ("tiers", "[1]"), ("context_limit", "0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(field: str, value: str) -> None:
    answer = save(**{field: value})
    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not ModelPrice.objects.exists()
