"""The order of trial: strict tiers of priority, weighted chance within a tier, each (channel, key) once."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from channels_app.routing import route
from tests.channels_app.asking import channel

DRAWS = 20_000
CHI_SQUARE_OF_ONE_IN_A_MILLION = 30.66  # two degrees of freedom


def first_of(upstreams, chance):
    return next(route(upstreams, chance))[0].id


def test_first_choices_follow_the_weights():
    weights = {1: 1, 2: 3, 3: 6}
    upstreams = [channel(identity=identity, weight=weight) for identity, weight in weights.items()]
    chance = random.Random(20261124)
    drawn = Counter(first_of(upstreams, chance) for _ in range(DRAWS))
    expected = {identity: DRAWS * weight / 10 for identity, weight in weights.items()}
    distance = sum((drawn[identity] - wanted) ** 2 / wanted for identity, wanted in expected.items())
    assert distance < CHI_SQUARE_OF_ONE_IN_A_MILLION


def test_what_is_left_is_drawn_by_weight_too():
    upstreams = [channel(identity=identity, weight=weight) for identity, weight in {1: 1_000_000, 2: 900, 3: 100}.items()]
    chance = random.Random(7)
    second = Counter([tried.id for tried, _ in route(upstreams, chance)][1] for _ in range(2_000))
    assert 0.85 < second[2] / 2_000 < 0.95


def test_equal_weights_share_equally_and_so_do_weights_of_zero():
    for weight in (5, 0):
        upstreams = [channel(identity=identity, weight=weight) for identity in (1, 2)]
        chance = random.Random(3)
        drawn = Counter(first_of(upstreams, chance) for _ in range(4_000))
        assert 1_700 < drawn[1] < 2_300


def test_a_weight_of_zero_comes_after_all_that_have_one():
    upstreams = [channel(identity=1, weight=0), channel(identity=2, weight=1), channel(identity=3, weight=1)]
    for seed in range(200):
        assert [tried.id for tried, _ in route(upstreams, random.Random(seed))][-1] == 1


def test_a_lower_tier_waits_for_every_key_of_the_higher_one():
    high = [channel(identity=1, priority=9, weight=0, keys=("a", "b")), channel(identity=2, priority=9, keys=("c",))]
    low = channel(identity=3, priority=1, weight=1_000_000, keys=("d", "e"))
    for seed in range(200):
        tiers = [tried.priority for tried, _ in route([*high, low], random.Random(seed))]
        assert tiers == [9, 9, 9, 1, 1]


def test_another_channel_is_tried_before_a_channels_second_key():
    upstreams = [channel(identity=1, keys=("a", "b", "c")), channel(identity=2, keys=("d",))]
    for seed in range(50):
        assert {tried.id for tried, _ in list(route(upstreams, random.Random(seed)))[:2]} == {1, 2}


def test_the_first_key_is_drawn_among_all():
    one = channel(identity=1, keys=("a", "b", "c", "d"))
    chance = random.Random(5)
    drawn = Counter(next(route([one], chance))[1].secret for _ in range(4_000))
    assert all(800 < count < 1_200 for count in drawn.values())


def test_nobody_to_route_to():
    assert list(route([])) == []


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5) | st.just(1_000_000), st.integers(1, 4)), max_size=12),
    st.integers(0, 2**32),
)
def test_each_channel_and_key_is_tried_exactly_once(rows, seed):
    rows.sort(key=lambda row: -row[0])
    upstreams = [
        channel(identity=number, priority=priority, weight=weight, keys=tuple(f"k{key}" for key in range(keys)))
        for number, (priority, weight, keys) in enumerate(rows)
    ]
    tried = [(upstream.id, key.id) for upstream, key in route(upstreams, random.Random(seed))]
    assert sorted(tried) == sorted((upstream.id, key.id) for upstream in upstreams for key in upstream.keys)
    order = [upstreams[identity].priority for identity, _ in tried]
    assert order == sorted(order, reverse=True)
