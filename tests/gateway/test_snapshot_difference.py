"""A difference holds the rows that changed, however they were changed, and no others are read."""

from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import Group, User
from billing.models import ModelPrice
from channels_app.models import Channel, ChannelKey, ChannelState
from gateway import snapshot_loader
from gateway.models import Change, ChangeCounter, Token
from gateway.snapshot import Difference, Snapshot
from gateway.snapshot_loader import ReadAnew, load_change, load_since, load_snapshot, version
from tests.gateway.stored import alice, channel, default, issue, price, run_sql

pytestmark = pytest.mark.django_db(transaction=True)  # triggers are deferred to the commit


def difference(act: Callable[[], object]) -> Difference:
    before = version()
    act()
    found = load_since(before)
    assert found is not None
    return found


def test_nothing_changed() -> None:
    issue()

    assert load_since(version()) is None


def test_an_update_of_a_queryset_is_seen() -> None:
    token, _ = issue()

    found = difference(lambda: Token.objects.update(enabled=False))

    row = found.tokens[token.pk]
    assert row is not None
    assert not row.enabled


def test_a_bulk_update_is_seen() -> None:
    tokens = [issue(f"t{number}")[0] for number in range(3)]
    for token in tokens:
        token.unlimited = False

    found = difference(lambda: Token.objects.bulk_update(tokens, ["unlimited"]))

    assert {identity: row and row.unlimited for identity, row in found.tokens.items()} == {token.pk: False for token in tokens}


def test_raw_sql_is_seen() -> None:
    user = alice()

    found = difference(lambda: run_sql(f"UPDATE accounts_user SET is_active = {'false' if connection.vendor == 'postgresql' else 0}"))

    row = found.users[user.pk]
    assert row is not None
    assert not row.active


def test_a_deletion_is_seen() -> None:
    token, _ = issue()

    found = difference(lambda: run_sql(f"DELETE FROM gateway_token WHERE id = {token.pk}"))

    assert found.tokens == {token.pk: None}


def test_a_deleted_price_is_seen() -> None:
    row = price()

    assert difference(lambda: ModelPrice.objects.all().delete()).prices == {row.pk: None}


@pytest.mark.parametrize(
    "act",
    [
        lambda row: ChannelState.objects.create(channel=row, status="disabled"),
        lambda row: ChannelKey.objects.filter(channel=row).update(enabled=False),
        lambda row: ChannelKey.objects.filter(channel=row).delete(),
        lambda row: Channel.objects.filter(pk=row.pk).update(enabled=False),
    ],
)
def test_whatever_takes_a_channel_out_is_seen(act: Callable[[Channel], object]) -> None:
    row = channel()

    found = difference(lambda: act(row))

    assert (found.upstreams, found.disabled) == ({row.pk: None}, {row.pk: True})


def test_a_channels_groups_are_seen() -> None:
    row = channel()

    found = difference(lambda: row.groups.clear()).upstreams[row.pk]

    assert found is not None
    assert found.groups == frozenset()


def test_a_renamed_group_takes_its_channels_along() -> None:
    row, _other = channel(), channel("elsewhere", groups=[Group.objects.create(name="vip")])

    found = difference(lambda: Group.objects.filter(pk=default().pk).update(name="everybody"))

    assert list(found.upstreams) == [row.pk]
    renamed = found.upstreams[row.pk]
    assert renamed is not None
    assert renamed.groups == {"everybody"}


def test_what_was_rolled_back_is_not_seen() -> None:
    issue()
    before = version()

    with pytest.raises(ZeroDivisionError):
        fail_after(lambda: Token.objects.update(enabled=False))

    assert load_since(before) is None


def fail_after(act: Callable[[], object]) -> None:
    with transaction.atomic():
        act()
        raise ZeroDivisionError


def test_a_snapshot_that_takes_all_differences_in_equals_a_new_one() -> None:
    followed = load_snapshot()
    steps: list[Callable[[], object]] = [
        issue,
        channel,
        price,
        lambda: channel("two", priority=5),
        lambda: User.objects.update(is_active=False),
        lambda: Channel.objects.filter(name="one").update(enabled=False),
        lambda: Channel.objects.filter(name="one").update(enabled=True, model_names=["o1"]),
        lambda: ModelPrice.objects.update(model="o1"),
        lambda: Group.objects.update(ratio_ppm=1),
    ]
    for step in steps:
        step()
        changed = load_change(followed)
        assert changed is not None
        followed.apply(changed)

    assert outline(followed) == outline(load_snapshot())


def outline(known: Snapshot) -> object:
    index = {place: [there.id for there in upstreams] for place, upstreams in known.by_model.items()}
    return known.version, known.tokens, known.users, known.groups, known.prices, known.disabled, sorted(known.upstreams), index


def test_only_the_rows_that_changed_are_read() -> None:
    """Two queries for the feed and one for the one row: the same with one token as with many."""
    tokens = [issue(f"t{number}")[0] for number in range(30)]
    before = version()
    Token.objects.filter(pk=tokens[7].pk).update(enabled=False)

    with CaptureQueriesContext(connection) as queries:
        found = load_since(before)

    assert found is not None
    assert list(found.tokens) == [tokens[7].pk]
    assert (found.users, found.groups, found.upstreams, found.prices) == ({}, {}, {}, {})
    assert len(queries) == 3


def test_channels_are_read_in_four_queries_however_many() -> None:
    def queries_of(count: int) -> int:
        for number in range(count):
            channel(f"{count}-{number}")
        with CaptureQueriesContext(connection) as queries:
            load_snapshot()
        return len(queries)

    assert queries_of(1) == queries_of(20)


def test_a_change_of_a_channel_comes_with_its_index() -> None:
    """The loop only stores it: what costs time was done in the thread."""
    row = channel()
    known = load_snapshot()
    Channel.objects.filter(pk=row.pk).update(model_names=["o1"])

    found = load_change(known)

    assert found is not None
    assert found.places is not None
    assert sorted(model for _, model in found.places) == ["gpt-4o", "o1"]


def test_changes_that_were_pruned_unread_ask_for_everything() -> None:
    issue()
    before = version()
    Token.objects.update(enabled=False)
    Token.objects.update(enabled=True)
    Change.objects.filter(version=before + 1).delete()

    with pytest.raises(ReadAnew):
        load_since(before)


def test_a_counter_that_went_back_asks_for_everything() -> None:
    issue()
    before = version()
    ChangeCounter.objects.update(version=0)

    with pytest.raises(ReadAnew):
        load_since(before)


def test_too_many_changes_ask_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_loader, "MANY", 2)
    before = version()
    for number in range(3):
        issue(f"t{number}")

    with pytest.raises(ReadAnew):
        load_since(before)
