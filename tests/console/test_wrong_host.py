"""The console answers under its own names only (docs/security.md 26)."""

import pytest
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1@evil.example", "localhost:80:80", ""])
@pytest.mark.parametrize("address", ["/", "/admin/", "/accounts/login/", "/accounts/password/reset/"])
def test_a_foreign_host_is_a_bad_request(address: str, host: str) -> None:
    assert Client().get(address, headers={"host": host}).status_code == 400


@pytest.mark.parametrize("address", ["//admin/", "/admin//", "/ADMIN/", "/%61dmin/%2e%2e/admin/accounts/user/", "/admin/accounts/user/%2e%2e/group/"])
def test_other_spellings_open_nothing(address: str) -> None:
    answer = Client().get(address)
    assert answer.status_code in {301, 302, 404}
    assert b"Redeem codes" not in answer.content
