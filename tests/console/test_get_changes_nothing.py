"""Looking changes nothing: a GET of every address leaves every row as it was (docs/security.md 23); posts need the form's token."""

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from tests.console.routes import routes
from tests.console.rows import PASSWORD, World, person, signed_in, superuser, world

pytestmark = pytest.mark.django_db
OF_THE_VISIT = {"django_session", "account_emailaddress", "account_emailconfirmation"}


@pytest.fixture
def rows() -> World:
    return world()


def snapshot() -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables but those of the visit itself."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            if table not in OF_THE_VISIT:
                cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
                found[table] = sorted(cursor.fetchall(), key=repr)
    return found


def test_a_get_of_every_address_changes_no_row(rows: World) -> None:
    clients = [signed_in(superuser()), signed_in(rows.user), signed_in(None)]
    before = snapshot()
    for client in clients:
        for route in routes(rows):
            client.get(route.address)
    after = snapshot()
    assert {table for table in before if before[table] != after[table]} == set()


@pytest.mark.parametrize(
    "address",
    ["/accounts/login/", "/accounts/logout/", "/portal/redeem", "/portal/tokens/", "/i18n/setlang/", "/admin/accounts/user/add/", "/admin/logout/"],
)
def test_a_post_without_the_forms_token_is_refused(address: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser(), backend="django.contrib.auth.backends.ModelBackend")
    assert client.post(address, {"code": "x", "language": "en"}).status_code == 403


def test_no_header_lets_another_origin_read_the_console(rows: World) -> None:
    answer = signed_in(rows.user).get("/", headers={"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


def test_cookies_are_out_of_reach_of_scripts_and_other_sites() -> None:
    person("alice")
    client = Client()
    client.get(reverse("account_login"))
    client.post(reverse("account_login"), {"login": "alice", "password": PASSWORD})
    assert {"sessionid", "csrftoken"} <= set(client.cookies)
    for name in ("sessionid", "csrftoken"):
        assert client.cookies[name]["httponly"]
        assert client.cookies[name]["samesite"] == "Lax"
