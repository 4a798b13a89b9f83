"""The figures of the billing endpoints: the token's where it has a limit, else its user's; 503 while the database is away."""

import pytest
from django.db import OperationalError

from accounts.models import User
from billing import wallets
from billing.models import Balance, Kind
from gateway import figures
from gateway.figures import Figures, account_of
from gateway.keys import Caller
from gateway.snapshot import GroupRow, TokenRow, UserRow
from gateway.tokens import issue_token
from tests.billing import rows
from tests.gateway.asgi_client import ask
from tests.gateway.in_memory import relay_app
from tests.gateway.known import KEY

USD = 10**9


@pytest.fixture
def alice(db) -> User:
    user = rows.make_user()
    wallets.credit(user, 30 * USD)
    rows.charge([wallets.wallet_of(user.pk)], 4 * USD, user_id=user.pk)
    return user


def caller(user: User, token: int = 7, limited: bool = False, unlimited_user: bool = False, expires: float | None = None) -> Caller:
    row = TokenRow(token, user.pk, "", "t", True, expires, not limited, frozenset(), (), None)
    return Caller(row, UserRow(user.pk, user.username, user.group_id, unlimited_user, True, False), GroupRow(user.group_id, "default", 10**6), "")


def test_an_unlimited_token_shows_its_users_wallet(alice):
    assert account_of(caller(alice)) == (26 * USD, 4 * USD, False, 0)


def test_a_limited_token_shows_its_own_figures(alice):
    token, _ = issue_token(alice, "t", limit_nano=10 * USD, expires_at=None)
    assert account_of(caller(alice, token.pk, limited=True)) == (10 * USD, 0, False, 0)
    own = Balance.objects.get(kind=Kind.TOKEN, subject=token.pk)
    rows.charge([own, wallets.wallet_of(alice.pk)], USD, user_id=alice.pk, token_id=token.pk)
    assert account_of(caller(alice, token.pk, limited=True, expires=123.9)) == (9 * USD, USD, False, 123)


def test_a_user_without_a_limit(alice):
    assert account_of(caller(alice, unlimited_user=True)).unlimited


def test_a_user_without_a_wallet(db):
    assert account_of(caller(rows.make_user("bob"))) == (0, 0, False, 0)


@pytest.mark.parametrize("path", ["/dashboard/billing/subscription", "/v1/dashboard/billing/usage"])
async def test_while_the_database_is_away_it_says_so(monkeypatch, path):
    def away(caller):
        raise OperationalError("connection refused to 10.1.2.3")

    monkeypatch.setattr(figures, "account_of", away)
    app = relay_app()
    app._figures = Figures()
    answer = await ask(app, "GET", path, key=KEY)
    assert (answer.status, answer.error()["code"]) == (503, "service_unavailable")
    assert "10.1.2.3" not in answer.body.decode()
    assert "retry-after" in answer.headers
