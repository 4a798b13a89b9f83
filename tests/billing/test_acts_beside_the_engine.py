"""Credits, edits of limits and audits beside a ledger engine that serves: nothing is lost, and every audit on the way is clean."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from django.db import connection

from billing.audit import audit
from billing.ledger.errors import NotEnough
from billing.ledger.reserve import Ledger, LedgerConfig
from billing.models import Kind
from billing.wallets import credit, figures, set_limit
from tests.billing.ledger.conftest import TOKEN, WALLET, facts, fund
from tests.billing.rows import make_user
from tests.orm import in_thread


@pytest.fixture
async def engine(transactional_db: None, tmp_path: Path) -> AsyncIterator[Ledger]:
    """A running ledger on the tests' database."""
    values = connection.settings_dict
    auth = f"{values['USER']}:{values['PASSWORD']}" if values["PASSWORD"] else values["USER"]
    sqlite = connection.vendor == "sqlite"
    place = str(values["NAME"]) if sqlite else f"postgresql://{auth}@{values['HOST']}:{values['PORT']}/{values['NAME']}"
    running = Ledger(LedgerConfig(place, sqlite, tmp_path, lease_idle=0.3))
    await running.start()
    yield running
    await running.stop(5)


async def test_requests_credits_edits_and_audits_at_once(engine: Ledger) -> None:
    # Given a user whose wallet is subject 1, and a token with a limit
    user = await in_thread(make_user, pk=WALLET.subject)
    await in_thread(fund, WALLET, 1_000_000)
    await in_thread(fund, TOKEN, 300_000)
    charged = refused = 0

    async def requests() -> None:
        nonlocal charged, refused
        for _number in range(50):
            try:
                async with engine.reserve([TOKEN, WALLET], 2_000, 100) as charge:
                    await engine.settle(charge, facts(1_000))
                charged += 1
            except NotEnough:
                refused += 1

    async def acts() -> None:
        for number in range(10):
            await in_thread(credit, user, 10_000, None, "", f"k{number}")
            await in_thread(set_limit, Kind.TOKEN, TOKEN.subject, 100_000 + number)

    async def audits() -> None:
        for _number in range(10):
            assert (await in_thread(audit)).differences == []

    # When requests, credits, edits and audits run at once
    await asyncio.gather(*(requests() for _ in range(6)), acts(), audits())

    # Then every request was charged or refused, and all of it adds up
    report = await in_thread(audit)
    assert report.ok
    assert (charged + refused, report.charges, report.charged_nanodollars) == (300, charged, charged * 1_000)
    wallet = await in_thread(figures, Kind.WALLET, WALLET.subject)
    assert (wallet.remaining, wallet.used, wallet.requests) == (1_100_000 - charged * 1_000, charged * 1_000, charged)


async def test_a_limit_taken_away_and_given_again_with_requests_in_flight(engine: Ledger) -> None:
    # Given three requests that were admitted under a limit, and one that begins while there is none
    await in_thread(fund, WALLET, 1_000_000)
    await in_thread(fund, TOKEN, 10_000)
    async with (
        engine.reserve([TOKEN, WALLET], 2_000, 100) as early,
        engine.reserve([TOKEN, WALLET], 2_000, 100) as across,
        engine.reserve([TOKEN, WALLET], 2_000, 100),
    ):
        await in_thread(set_limit, Kind.TOKEN, TOKEN.subject, None)
        async with engine.reserve([WALLET], 2_000, 100) as unlimited:
            await engine.settle(early, facts(1_500))

            # When the token has a limit again, and then they end: one above its reserve, one without the limit, the third for nothing
            await in_thread(set_limit, Kind.TOKEN, TOKEN.subject, 5_000)
            await engine.settle(across, facts(2_300))
            await engine.settle(unlimited, facts(700))

    # Then what was admitted under the limit counts against it, and the equation holds
    assert (await in_thread(audit)).ok
    assert (await in_thread(figures, Kind.TOKEN, TOKEN.subject)).remaining == 5_000 - 2_300
    assert (await in_thread(figures, Kind.WALLET, WALLET.subject)).remaining == 1_000_000 - 1_500 - 2_300 - 700
