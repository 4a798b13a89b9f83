"""A canary in every secret: no page, list, form, history, export or session shows it (docs/security.md 9), nor does the database (10)."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.urls import reverse

from channels_app.channels import set_keys
from channels_app.models import Channel
from tests.console.routes import routes
from tests.console.rows import World, signed_in, superuser, world

pytestmark = pytest.mark.django_db
CANARY = "CANARY9f3k"


@pytest.fixture
def rows() -> World:
    made = world()
    set_keys(made.channel, [f"sk-{CANARY}-upstream-key"])
    Channel.objects.filter(pk=made.channel.pk).update(proxy=f"http://u:{CANARY}@proxy.example:3128", extra_headers=f'{{"X-Key": "{CANARY}"}}')
    return made


def test_no_page_shows_a_secret(rows: World) -> None:
    client = signed_in(superuser())
    owner = signed_in(rows.user)
    for visitor in (client, owner):
        for route in routes(rows):
            text = visitor.get(route.address, follow=True).content.decode(errors="replace")
            for secret in (CANARY, rows.key.removeprefix("sk-"), rows.code, "argon2", "md5$"):
                assert secret not in text, (route, secret)


def test_a_form_that_is_refused_shows_no_saved_secret(rows: World) -> None:
    client = signed_in(superuser())
    answer = client.post(reverse("admin:channels_app_channel_change", args=[rows.channel.pk]), {"seen_version": "99", "provider": "openai"})
    assert answer.status_code == 200
    assert CANARY not in answer.content.decode()


def test_history_messages_and_sessions_hold_no_secret(rows: World) -> None:
    client = signed_in(superuser())
    form = {"user": rows.user.pk, "name": "second", "unlimited": "on", "limit": "", "allowed_models": "", "allowed_subnets": ""}
    key = client.post(reverse("admin:gateway_token_add"), form).content.decode().split('value="sk-')[1].split('"')[0]
    posted = {"action": "export_text", "_selected_action": [rows.change_pages()["billing.redeemcode"]]}
    assert rows.code in client.post(reverse("admin:billing_redeemcode_changelist"), posted).content.decode()
    written = " ".join(f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all()) + str(dict(client.session))
    assert "exported 1" in written
    for secret in (key, rows.code, CANARY):
        assert secret not in written


def test_a_dump_of_the_database_opens_nothing(rows: World) -> None:
    """Keys, codes, proxies and headers are ciphertext or digests in every column of every table."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            dump = repr(cursor.fetchall())
            for secret in (CANARY, rows.key, rows.code):
                assert secret not in dump, table
