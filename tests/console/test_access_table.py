"""Who may see which page: a walk of all addresses by five visitors equals a table that people have read (docs/security.md 5).

After a change of the routes the failure prints the lines that differ. Read them, then put them into access_table.txt.
"""

from pathlib import Path

import pytest
from django.test import Client

from tests.console.routes import routes
from tests.console.rows import World, person, signed_in, staff, superuser, world

pytestmark = pytest.mark.django_db
TABLE = Path(__file__).with_name("access_table.txt")
TO_SIGN_IN = "sign-in"


@pytest.fixture
def rows() -> World:
    return world()


def seen(client: Client, address: str) -> str:
    """What a visitor gets: a status, or that he is asked to sign in."""
    answer = client.get(address)
    if answer.status_code == 302 and answer.headers["Location"].startswith(("/accounts/login/", "/admin/login/")):
        return TO_SIGN_IN
    return str(answer.status_code)


def test_every_address_is_open_to_those_in_the_table_and_to_nobody_else(rows: World) -> None:
    visitors = [None, person("mallory"), person("bare", is_staff=True), staff(), superuser()]
    found = []
    for route in routes(rows):
        codes = [seen(signed_in(visitor), route.address) for visitor in visitors]
        found.append(f"{route.shape or '(root)':<82} {' '.join(f'{code:<8}' for code in codes)}".rstrip())
    written = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert sorted(found) == sorted(written), "\n".join(["lines that differ:", *sorted(set(found) ^ set(written))])
