"""Which price holds: rules for a group, a channel, a model, from a moment on; and what a rule may say in the database."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import IntegrityError, transaction
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import Group
from billing.models import ModelPrice, PriceRule
from billing.price_list import book_of
from billing.price_rules import COST, PriceBook, PriceRules, Rule, scaled
from billing.pricing import MILLION, Price, Tier, charge
from tests.billing.test_price_arithmetic import prices, ratios, usages

LIST = Price(input=100, output=400, context_limit=8000)
NOW = 1000.0


def book(*rules, **listed):
    known = PriceRules()
    known.change({rule.id: rule for rule in rules})
    return PriceBook(listed or {"m": LIST}, known)


def input_of(known, group="default", channel=1, now=NOW, asked="m", mapped="m"):
    priced = known.charged(asked, mapped, group, channel, now)
    return priced and priced.price.input


def rule(identity, price=None, **where):
    return Rule(identity, where.pop("side", "charge"), price=Price(input=price, output=price) if price is not None else None, **where)


def test_without_a_rule_the_list_holds():
    assert book().charged("m", "m", "default", 1, NOW) == (LIST, False)
    assert input_of(book(), asked="unknown", mapped="m") == 100
    assert input_of(book(), asked="unknown", mapped="unknown") is None


def test_a_group_comes_before_a_channel_and_that_before_a_model_and_a_date():
    general = rule(1, 1, model="m")
    later = rule(2, 2, model="m", starts_at=500)
    everywhere = rule(3, ratio_ppm=30_000, channel=1)
    channel = rule(4, 4, model="m", channel=1)
    everything = rule(5, ratio_ppm=50_000, group="vip")
    group = rule(6, 6, model="m", group="vip")
    both = rule(7, 7, model="m", group="vip", channel=1)
    rules = [general, later, everywhere, channel, everything, group, both]
    while rules:
        expected = rules[-1].id
        assert input_of(book(*rules), group="vip") == expected
        rules.pop()


def test_a_rule_for_others_changes_nothing():
    known = book(rule(1, 1, model="m", group="vip"), rule(2, 2, model="m", channel=9), rule(3, 3, model="other"), rule(4, 4, model="m", side=COST))
    assert input_of(known) == 100


def test_a_rule_holds_from_its_moment_on():
    known = book(rule(1, 1, model="m", starts_at=NOW + 60), rule(2, 2, model="m", starts_at=NOW + 90))
    assert [input_of(known, now=NOW + passed) for passed in (0, 59.9, 60, 89, 90)] == [100, 100, 1, 1, 2]
    assert [known.rules.next_start(NOW + passed) for passed in (0, 60, 90)] == [NOW + 60, NOW + 90, float("inf")]


def test_a_groups_price_is_final_and_a_channels_is_not():
    known = book(rule(1, 1, model="m", group="vip"), rule(2, 2, model="m", channel=5))
    assert known.charged("m", "m", "vip", 1, NOW).final
    assert not known.charged("m", "m", "default", 5, NOW).final


def test_a_rule_is_named_and_keeps_the_models_limits():
    price = book(rule(7, 1, model="m")).charged("m", "m", "default", 1, NOW).price
    assert (price.source, price.context_limit) == ("rule 7", 8000)


def test_a_rule_by_the_name_asked_for_comes_before_the_mapped_name():
    known = book(rule(1, 1, model="alias"), m=LIST)
    assert input_of(known, asked="alias", mapped="m") == 1
    assert input_of(known, asked="another", mapped="m") == 100


def test_the_cost_has_rules_of_its_own():
    known = book(rule(1, ratio_ppm=800_000, channel=1, side=COST), rule(2, 9, model="m"))
    assert known.cost("m", 1, NOW).input == 80
    assert known.cost("m", 2, NOW).input == 100
    assert known.cost("unknown", 1, NOW) is None


def test_a_rule_that_is_changed_or_gone_no_longer_counts():
    known = book(rule(1, 1, model="m"))
    known.rules.change({1: rule(1, 2, model="m", group="vip")})
    assert (input_of(known), input_of(known, group="vip")) == (100, 2)
    known.rules.change({1: None, 5: None})
    assert (input_of(known, group="vip"), len(known.rules)) == (100, 0)


def test_a_ratio_rounds_each_price_up():
    half = scaled(Price(input=3, output=0, cached=1, tiers=(Tier(above=10, output=5),), per_request=7), 500_000, "x")
    assert half == Price(input=2, output=0, cached=1, tiers=(Tier(above=10, output=3),), per_request=4, source="x")


@given(prices, usages, ratios, ratios)
def test_no_rule_makes_a_charge_negative(price, usage, ratio, group_ratio):
    found = charge(scaled(price, ratio, "rule 1"), usage, group_ratio)
    assert found.amount >= 0
    if ratio <= MILLION:
        assert found.amount <= charge(price, usage, group_ratio).amount
    else:
        assert found.amount >= charge(price, usage, group_ratio).amount


@given(st.lists(st.builds(rule, st.integers(1, 50), st.integers(0, 9), model=st.just("m"), channel=st.integers(0, 2)), unique_by=lambda one: one.id))
def test_the_order_in_which_rules_were_read_decides_nothing(rules):
    assert input_of(book(*rules)) == input_of(book(*reversed(rules)))


# --- rows ---


@pytest.mark.django_db
def test_rules_are_read_with_the_list():
    group = Group.objects.create(name="vip")
    soon = datetime.now(tz=UTC) + timedelta(hours=1)
    ModelPrice.objects.create(model="m", input=100, output=400)
    PriceRule.objects.create(model="m", group=group, input=1, output=2, tiers=[{"above": 5, "input": 3}], starts_at=soon)
    PriceRule.objects.create(ratio_ppm=500_000, channel_id=3, side="cost")
    PriceRule.objects.create(model="other", input=1, output=2)
    known = book_of("m")
    assert input_of(known, group="vip", now=soon.timestamp()) == 1
    assert input_of(known, group="vip", now=soon.timestamp() - 1) == 100
    assert known.charged("m", "m", "vip", 1, soon.timestamp()).price.tiers == (Tier(above=5, input=3),)
    assert known.cost("m", 3, soon.timestamp()).input == 50
    assert len(known.rules) == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    "row",
    [
        {"model": "m"},
        {"model": "m", "input": 1},
        {"model": "m", "input": 1, "output": 1, "ratio_ppm": 1},
        {"model": "m", "input": -1, "output": 1},
        {"model": "m", "input": 1, "output": 1, "audio_in": 10**15 + 1},
        {"ratio_ppm": -1},
        {"ratio_ppm": 10**9 + 1},
        {"input": 1, "output": 1},
    ],
    ids=str,
)
def test_the_database_refuses_a_rule_that_says_nothing_or_nonsense(row):
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceRule.objects.create(**row)


@pytest.mark.django_db
def test_a_cost_belongs_to_no_group():
    with pytest.raises(IntegrityError), transaction.atomic():
        PriceRule.objects.create(side="cost", ratio_ppm=1, group=Group.objects.create(name="vip"))
