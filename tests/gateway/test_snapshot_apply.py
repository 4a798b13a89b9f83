"""A snapshot takes differences in row by row and ends where a full load would, whatever their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels_app.provider import Upstream
from gateway.snapshot import Difference, Snapshot
from tests.gateway.known import KEY, PRICE, snapshot, token, upstream

OTHER = "sk-" + "z" * 48
channels = st.one_of(
    st.none(),
    st.builds(
        lambda models, groups, priority: upstream(0, *models, groups=tuple(groups), priority=priority),
        st.sets(st.sampled_from("abc")),
        st.sets(st.sampled_from(["default", "vip"])),
        st.integers(-1, 1),
    ),
)


def indexed(known: Snapshot) -> dict[tuple[str, str], list[int]]:
    return {place: [channel.id for channel in there] for place, there in known.by_model.items()}


def numbered(identity: int, channel: Upstream | None) -> Upstream | None:
    return None if channel is None else upstream(identity, *channel.models, groups=tuple(channel.groups), priority=channel.priority)


def test_a_token_that_is_gone_opens_nothing() -> None:
    known = snapshot(token(), token(OTHER, id=2))

    known.apply(Difference(version=2, tokens={1: None}))

    assert [row.id for row in known.tokens.values()] == [2]
    assert known.version == 2


def test_a_token_with_a_new_key_is_not_found_by_the_old() -> None:
    known = snapshot(token())

    known.apply(Difference(version=2, tokens={1: token(OTHER)}))

    assert list(known.tokens) == [token(OTHER).hash]


def test_a_key_that_moved_to_another_row_stays() -> None:
    for changed in ({1: None, 2: token(id=2)}, {2: token(id=2), 1: None}):
        known = snapshot(token(KEY, id=1))

        known.apply(Difference(version=2, tokens=changed))

        assert known.tokens[token().hash].id == 2


def test_prices_that_change_names_with_each_other_stay() -> None:
    known = snapshot()
    known.apply(Difference(version=2, prices={2: ("o1", PRICE)}))

    known.apply(Difference(version=3, prices={1: ("o1", PRICE), 2: ("gpt-4o", PRICE)}))

    assert sorted(known.prices) == ["gpt-4o", "o1"]


def test_candidates_come_by_priority() -> None:
    known = snapshot(upstreams=(upstream(1, "m"), upstream(2, "m", priority=9), upstream(3, "m", priority=9), upstream(4, "other")))

    assert [channel.id for channel in known.candidates("default", "m")] == [2, 3, 1]
    assert known.candidates("vip", "m") == ()


def test_a_disabled_channel_is_known_by_its_id_alone() -> None:
    known = snapshot(upstreams=(upstream(1, "m"),))

    known.apply(Difference(version=2, upstreams={1: None}, disabled={1: True}))
    assert (known.disabled, known.upstreams, known.by_model) == ({1}, {}, {})

    known.apply(Difference(version=3, upstreams={1: upstream(1, "m")}, disabled={1: False}))
    assert (known.disabled, list(known.upstreams)) == (set(), [1])


def test_what_is_remembered_of_models_follows_the_channels() -> None:
    known = snapshot(upstreams=(upstream(1, "m"),))
    assert (known.models_of("default", frozenset()), known.knows_model("n")) == (["m"], False)

    known.apply(Difference(version=2, upstreams={2: upstream(2, "n")}))

    assert (known.models_of("default", frozenset()), known.knows_model("n")) == (["m", "n"], True)


@given(st.lists(st.dictionaries(st.integers(1, 4), channels, min_size=1), max_size=6))
def test_differences_end_where_a_full_load_would(history: list[dict[int, Upstream | None]]) -> None:
    stepwise, state = Snapshot(), dict[int, Upstream | None]()
    for version, step in enumerate(history):
        changed = {identity: numbered(identity, channel) for identity, channel in step.items()}
        state.update(changed)
        places = stepwise.places_after(changed) if version % 2 else None  # worked out beforehand, or not
        stepwise.apply(Difference(version=version, upstreams=changed, places=places))

    at_once = Snapshot()
    at_once.apply(Difference(version=0, upstreams=state))

    assert indexed(stepwise) == indexed(at_once)
    assert stepwise.upstreams.keys() == at_once.upstreams.keys()


def test_working_out_the_index_changes_nothing() -> None:
    known = snapshot(upstreams=(upstream(1, "m"),))
    before = indexed(known)

    found = known.places_after({1: None, 2: upstream(2, "m", "n")})

    assert indexed(known) == before
    assert {place: [channel.id for channel in there] for place, there in found.items()} == {("default", "m"): [2], ("default", "n"): [2]}


def test_a_change_of_one_channel_touches_its_own_places_only() -> None:
    """The cost of a change is the change's: 1,000 other channels with models of their own are not looked at."""
    known = snapshot(upstreams=tuple(upstream(number, f"model-{number}") for number in range(1, 1001)))
    untouched = dict(known.by_model)

    found = known.places_after({7: upstream(7, "model-7", "new")})

    assert sorted(model for _, model in found) == ["model-7", "new"]
    known.apply(Difference(version=2, upstreams={7: upstream(7, "model-7", "new")}, places=found))
    assert all(known.by_model[place] is there for place, there in untouched.items() if place[1] != "model-7")


@pytest.mark.parametrize("order", [(7, 8), (8, 7)])
def test_a_budget_that_was_removed_and_set_again_stays(order: tuple[int, int]) -> None:
    known = Snapshot()
    known.apply(Difference(1, budgets={7: ("user_day", 1), 9: ("user_week", 1)}))
    changed: dict[int, tuple[str, int] | None] = {7: None, 8: ("user_day", 1)}

    known.apply(Difference(2, budgets={identity: changed[identity] for identity in order}))

    assert known.budgets == {("user", 1): ("user_day", "user_week")}
