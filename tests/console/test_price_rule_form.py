"""Rules beside the price list as forms: entered in dollars or per cent, and history once they have begun."""

import datetime
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from accounts.models import Group
from billing.models import ModelPrice, PriceRule
from tests.console.rows import channel, person, signed_in, superuser

pytestmark = pytest.mark.django_db
LIST, ADD = reverse("admin:billing_pricerule_changelist"), reverse("admin:billing_pricerule_add")


def fields(**changes: object) -> dict[str, object]:
    return {"side": "charge", "model": "m", "starts_at_0": "2999-01-31", "starts_at_1": "12:00:00", **changes}


def add(**changes: object) -> Any:
    return signed_in(superuser()).post(ADD, fields(**changes))


def test_a_rule_with_prices_for_a_group_and_a_channel() -> None:
    group, served = Group.objects.create(name="vip"), channel()

    answer = add(group=group.pk, channel=served.pk, input="2.5", output="10", tiers='[{"above": 200000, "input": 5}]', note="from next year")

    assert answer.status_code == 302, answer.context["errors"]
    rule = PriceRule.objects.get()
    assert (rule.model, rule.group, rule.channel_id, rule.ratio_ppm, rule.input, rule.output) == ("m", group, served.pk, None, 2_500_000_000, 10**10)
    assert (rule.tiers, rule.note, rule.starts_at.year) == ([{"above": 200000, "input": 5_000_000_000}], "from next year", 2999)


def test_a_ratio_for_every_model_that_begins_now() -> None:
    answer = add(model="", percent="82.5", starts_at_0="2020-01-01")

    assert answer.status_code == 302, answer.context["errors"]
    rule = PriceRule.objects.get()
    assert (rule.model, rule.ratio_ppm, rule.input) == ("", 825_000, None)
    assert abs(timezone.now() - rule.starts_at) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"input": "1"},
        {"percent": "80", "input": "1", "output": "1"},
        {"percent": "80", "per_request": "1"},
        {"percent": "-1"},
        {"percent": "much"},
        {"model": "", "input": "1", "output": "1"},
        {"input": "-1", "output": "1"},
        {"side": "cost", "group": "default", "percent": "80"},
        {"channel": "999", "percent": "80"},
        {"input": "1", "output": "1", "tiers": "[{}]"},
    ],
)
def test_what_is_no_rule_is_refused(changes: dict[str, object]) -> None:
    if changes.get("group"):
        changes = {**changes, "group": Group.objects.get_or_create(name="default")[0].pk}

    answer = add(**changes)

    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors
    assert not PriceRule.objects.exists()


def test_of_a_rule_that_has_begun_only_the_note_changes_and_it_stays() -> None:
    rule = PriceRule.objects.create(model="m", ratio_ppm=800_000)
    client, url = signed_in(superuser()), reverse("admin:billing_pricerule_change", args=[rule.pk])

    client.post(url, fields(model="other", percent="10", note="as agreed"))
    gone = client.post(reverse("admin:billing_pricerule_delete", args=[rule.pk]), {"post": "yes"})

    rule.refresh_from_db()
    assert (rule.model, rule.ratio_ppm, rule.note, gone.status_code) == ("m", 800_000, "as agreed", 403)
    assert "delete_selected" not in client.get(LIST).content.decode()


def test_a_scheduled_rule_is_changed_and_removed() -> None:
    rule = PriceRule.objects.create(model="m", ratio_ppm=800_000, starts_at=timezone.now() + datetime.timedelta(days=1))
    client = signed_in(superuser())

    client.post(reverse("admin:billing_pricerule_change", args=[rule.pk]), fields(percent="70"))
    rule.refresh_from_db()
    assert rule.ratio_ppm == 700_000
    client.post(reverse("admin:billing_pricerule_delete", args=[rule.pk]), {"post": "yes"})
    assert not PriceRule.objects.exists()


def test_the_calculator_shows_charge_cost_and_what_is_left() -> None:
    Group.objects.get_or_create(name="default")
    served = channel()
    ModelPrice.objects.create(model="m", input=10**9, output=2 * 10**9)
    PriceRule.objects.create(side="cost", model="m", channel_id=served.pk, ratio_ppm=500_000)
    url = reverse("admin:billing_pricerule_calculate")

    page = signed_in(superuser()).get(url, {"model": "m", "group": "default", "channel": served.pk, "input": "1000000", "output": "500000"})

    quoted = page.context["quoted"]
    assert (quoted["usd"], quoted["cost_usd"], quoted["margin_usd"]) == ("2.00", "1.00", "1.00")
    assert [line["usd"] for line in quoted["lines"]] == ["1", "1"]
    assert "$2.00" in page.content.decode()
    wrong = signed_in(superuser("second")).get(url, {"model": "nobody", "group": "default", "input": "x"})
    assert (wrong.status_code, wrong.context["form"].errors.keys()) == (200, {"input"})
    assert signed_in(person("clerk", is_staff=True)).get(url).status_code == 403
