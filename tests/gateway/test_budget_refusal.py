"""What a client hears where a budget is used up, and which balances a request asks."""

import datetime
import time
from zoneinfo import ZoneInfo

import pytest

from billing.ledger.errors import NotEnough
from billing.ledger.records import BalanceKey
from gateway.config import RelayConfig
from gateway.keys import authenticate
from gateway.relay import BUDGETS, Relay
from gateway.snapshot import Difference, Snapshots
from outbound.client_aiohttp import AiohttpTransport
from outbound.guard import Guard
from tests.gateway.in_memory import ADMIN_KEY, FreeLedger, echoing
from tests.gateway.known import KEY
from wire.errors import BudgetExhausted

SHANGHAI = ZoneInfo("Asia/Shanghai")


def relay(*budgets):
    snapshots = Snapshots()
    snapshots.current = echoing()
    snapshots.current.apply(Difference(1, budgets=dict(enumerate(budgets))))
    return Relay(RelayConfig(time_zone=SHANGHAI), snapshots, FreeLedger(), AiohttpTransport(Guard("channel")))


def asked(one, key=KEY):
    return one.balances_of(authenticate(key.encode(), "203.0.113.7", one.snapshots.current, time.time()))


def test_without_budgets_none_is_asked():
    one = relay(("user_day", 99))
    assert all(key.period == "" for key in asked(one))


def test_the_tokens_budgets_come_before_the_users_and_name_their_periods():
    one = relay(("user_month", 1), ("token_week", 1), ("token_day", 1), ("user_day", 2))
    today = datetime.datetime.now(tz=SHANGHAI).date()
    monday = today - datetime.timedelta(days=today.weekday())
    assert asked(one)[-3:] == [
        BalanceKey("token_day", 1, today.isoformat()),
        BalanceKey("token_week", 1, monday.isoformat()),
        BalanceKey("user_month", 1, today.replace(day=1).isoformat()),
    ]
    assert asked(one, ADMIN_KEY)[-1] == BalanceKey("user_day", 2, today.isoformat())


@pytest.mark.parametrize("kind", BUDGETS)
def test_the_refusal_names_the_budget_its_figures_and_its_next_period(kind):
    refusal = relay().quota_exhausted(NotEnough(kind, 1_500_000), 2_000_000)
    assert isinstance(refusal, BudgetExhausted)
    assert (refusal.status, refusal.code, refusal.type) == (429, "budget_exhausted", "insufficient_quota")
    assert refusal.message.startswith(f"{BUDGETS[kind]} is used up. This request may cost up to $0.002000, and $0.001500 is left of it.")
    begins = datetime.datetime.fromisoformat(refusal.message.removesuffix(".").rpartition(" ")[2])
    assert (begins.hour, begins.minute, begins.utcoffset()) == (0, 0, datetime.timedelta(hours=8))
    assert abs(begins.timestamp() - time.time() - int(refusal.headers["Retry-After"])) < 5
    assert refusal.headers["x-should-retry"] == "false"
