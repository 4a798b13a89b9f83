"""Search texts are cut and escaped before they reach the database (docs/security.md 30)."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.console.rows import person, signed_in, superuser

pytestmark = pytest.mark.django_db


def test_wildcards_are_letters() -> None:
    client = signed_in(superuser())
    person("a%b")
    person("aXb")
    page = client.get(reverse("admin:accounts_user_changelist"), {"q": "a%b"}).content.decode()
    assert "a%b" in page
    assert "aXb@example.com" not in page


@pytest.mark.parametrize("name", ["accounts_user", "gateway_token", "channels_app_channel", "billing_redeemcode", "billing_modelprice"])
def test_long_texts_are_cut(name: str) -> None:
    client = signed_in(superuser())
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert client.get(reverse(f"admin:{name}_changelist"), {"q": "%_z" * 3000 + "\x00"}).status_code == 200
    assert all(len(query["sql"]) < 20_000 for query in queries.captured_queries)


def test_the_log_is_searched_by_exact_values_only() -> None:
    client = signed_in(superuser())
    with CaptureQueriesContext(connection) as queries:
        assert client.get(reverse("admin:billing_usagerecord_changelist"), {"q": "gpt"}).status_code == 200
    assert not any(" LIKE " in query["sql"] for query in queries.captured_queries if "billing_usagerecord" in query["sql"])
