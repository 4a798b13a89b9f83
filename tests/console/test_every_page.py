"""Every list, every form and every row of the admin can be drawn, in both languages, with searches and filters."""

from typing import Any

import pytest
from django.contrib import admin
from django.core.cache import cache
from django.urls import reverse

from tests.console.rows import World, signed_in, superuser, world

pytestmark = pytest.mark.django_db
NAMES = sorted(model._meta.label_lower for model in admin.site._registry)
WITHOUT_ADD = {
    "billing.usagerecord", "billing.balance", "billing.ledgerentry", "billing.process", "billing.lease", "billing.counter", "billing.hold",
    "billing.checkpoint", "billing.closedmonth", "billing.auditrun", "billing.limitchange", "django_celery_beat.periodictask",
}  # fmt: skip


@pytest.fixture
def rows() -> World:
    return world()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_lists_and_rows_are_drawn(rows: World, name: str, language: str) -> None:
    client, url = signed_in(superuser()), name.replace(".", "_")
    answer = client.get(reverse(f"admin:{url}_changelist"), headers={"accept-language": language})
    assert answer.status_code == 200
    assert f'lang="{language}"' in answer.content.decode()
    assert client.get(reverse(f"admin:{url}_changelist"), {"q": "50%_' OR 1=1"}).status_code in {200, 302}
    answer = client.get(reverse(f"admin:{url}_change", args=[rows.change_pages()[name]]), headers={"accept-language": language})
    assert answer.status_code == 200


@pytest.mark.parametrize("name", NAMES)
def test_forms_for_new_rows_are_drawn_where_people_may_add(rows: World, name: str) -> None:
    answer = signed_in(superuser()).get(reverse(f"admin:{name.replace('.', '_')}_add"))
    assert answer.status_code == (403 if name in WITHOUT_ADD else 200)


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("billing.usagerecord", {"user": "alice", "token": "laptop", "model": "gpt-4o", "ended__exact": "done", "type__exact": "request"}),
        ("billing.usagerecord", {"user": "7", "channel": "1"}),
        ("billing.redeemcode", {"state": "unused", "batch__icontains": "sho"}),
        ("channels_app.channel", {"provider": "openai", "state": "automatic"}),
        ("gateway.token", {"state": "active", "unlimited__exact": "0"}),
        ("billing.balance", {"kind__exact": "wallet"}),
        ("billing.ledgerentry", {"act__exact": "topup"}),
        ("billing.modelprice", {"source__exact": "operator"}),
        ("accounts.user", {"is_staff__exact": "0"}),
    ],
)
def test_filters_work(rows: World, name: str, query: dict[str, str]) -> None:
    answer = signed_in(superuser()).get(reverse(f"admin:{name.replace('.', '_')}_changelist"), query)
    assert answer.status_code == 200


def test_the_dashboard_says_what_was_earned(rows: World) -> None:
    cache.clear()
    page = signed_in(superuser()).get(reverse("admin:index")).content.decode()
    assert "Revenue today" in page
    assert "$0.0000" in page
    assert "the key is dead" in page


def test_the_log_spells_the_charge_out(rows: World) -> None:
    page = signed_in(superuser()).get(reverse("admin:billing_usagerecord_change", args=[rows.record.pk])).content.decode()
    for text in ("$2.50 / 1M", "$10.00 / 1M", "$0.00002", "$0.00004", "×0.7", "$0.000028", "alice", "laptop", "main", "…y-1"):
        assert text in page, text


def test_a_detail_of_another_shape_does_not_break_its_page(rows: World) -> None:
    client = signed_in(superuser())
    shapes: tuple[Any, ...] = ({}, {"lines": "none", "attempts": [1, None]}, {"lines": [["x"]], "error": {"message": "cut"}}, [])
    for detail in shapes:
        type(rows.record).objects.filter(pk=rows.record.pk).update(detail=detail)
        assert client.get(reverse("admin:billing_usagerecord_change", args=[rows.record.pk])).status_code == 200


def test_an_empty_installation_is_shown_the_way() -> None:
    cache.clear()  # the dashboard keeps its sums for some seconds
    page = signed_in(superuser()).get(reverse("admin:index")).content.decode()
    assert reverse("admin:channels_app_channel_add") in page
    assert reverse("admin:gateway_token_add") in page
