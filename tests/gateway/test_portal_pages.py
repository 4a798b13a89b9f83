"""What a signed-in user sees of his own, and that another's ids are nothing to him (docs/security.md 20)."""

import pytest
from django.urls import reverse, set_script_prefix

from gateway import tokens
from tests.console.rows import World, person, record, signed_in, world

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows() -> World:
    return world()


def test_home_shows_balance_tokens_and_requests(rows: World) -> None:
    page = signed_in(rows.user).get(reverse("portal:home")).content.decode()
    for text in ("$22.00", "laptop", f"sk-…{rows.token.hint}", "gpt-4o", "$0.000028", "http://testserver/v1"):
        assert text in page, text


def test_the_log_is_filtered_by_token_and_model(rows: World) -> None:
    other, _key = tokens.issue_token(rows.user, "server", unlimited=True)
    record(rows.user, other, model="o3-mini")
    client, url = signed_in(rows.user), reverse("portal:usage")
    assert {row["record"].model for row in client.get(url).context["rows"]} == {"gpt-4o", "o3-mini"}
    assert {row["record"].model for row in client.get(url, {"token": other.pk}).context["rows"]} == {"o3-mini"}
    assert {row["record"].model for row in client.get(url, {"model": "gpt-4o"}).context["rows"]} == {"gpt-4o"}
    for page in ("0", "-1", "x", "9" * 30, "\x00"):
        assert client.get(url, {"page": page, "token": page, "model": page}).status_code == 200


def test_pages_follow_each_other(rows: World) -> None:
    for _number in range(60):
        record(rows.user, rows.token)
    client, url = signed_in(rows.user), reverse("portal:usage")
    first, second = client.get(url).context, client.get(url, {"page": "2"}).context
    assert (len(first["rows"]), first["next"], len(second["rows"]), second["next"]) == (50, 2, 11, None)


def test_a_request_is_spelled_out_without_the_operators_side(rows: World) -> None:
    page = signed_in(rows.user).get(reverse("portal:usage_record", args=[rows.record.pk])).content.decode()
    assert "×0.7" in page
    for hidden in ("Cost at the upstream", "up.example", "Attempts", "…y-1", "main<"):
        assert hidden not in page


def test_anothers_ids_are_a_404(rows: World) -> None:
    mallory = signed_in(person("mallory"))
    assert mallory.get(reverse("portal:usage_record", args=[rows.record.pk])).status_code == 404
    assert mallory.post(reverse("portal:revoke", args=[rows.token.pk])).status_code == 404
    assert mallory.post(reverse("portal:reveal", args=[rows.token.pk]), follow=True).status_code in {200, 404}
    rows.token.refresh_from_db()
    assert rows.token.enabled
    for url in (reverse("portal:home"), reverse("portal:tokens"), reverse("portal:usage"), reverse("portal:usage") + f"?token={rows.token.pk}"):
        assert "laptop" not in mallory.get(url).content.decode()


def test_the_language_can_be_switched(rows: World) -> None:
    client = signed_in(rows.user)
    answer = client.post(reverse("set_language"), {"language": "zh-hans", "next": "/"}, follow=True)
    assert "兑换" in answer.content.decode()


def test_without_a_sign_in_there_is_nothing(rows: World) -> None:
    for name in ("home", "tokens", "usage", "redeem"):
        assert signed_in(None).get(reverse(f"portal:{name}")).status_code == 302


def test_a_sub_path_is_in_every_link(rows: World) -> None:
    client = signed_in(rows.user)
    set_script_prefix("/one-api/")
    try:
        page = client.get("/", SCRIPT_NAME="/one-api").content.decode()
    finally:
        set_script_prefix("/")
    assert 'href="/one-api/portal/tokens/"' in page
    assert "http://testserver/one-api/v1" in page
    assert 'href="/portal' not in page
