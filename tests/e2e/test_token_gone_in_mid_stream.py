"""What was asked at admission pays: a token deleted, or moved to another user, while its stream runs is charged where it was admitted."""

import json

import pytest

from tests.e2e.arrange import EXACT, MODEL, add_channel, add_token, add_user, audit, client, price_of_exact, until

pytestmark = pytest.mark.slow
CHANGES = {
    "deleted": "token.enabled, token.deleted_at, token.key = False, timezone.now(), ''",
    "moved": "token.user = User.objects.get(username='heir-moved')",
}


@pytest.fixture(scope="module")
def ready(server, simulator):
    add_channel(server, simulator.url)
    return server


@pytest.mark.parametrize("change", CHANGES)
def test_a_stream_under_way_is_charged_to_those_it_was_admitted_for(ready, upstream, change):
    # Given a stream of a token with a limit that stands still in the middle
    price, owner, heir = price_of_exact(ready), f"owner-{change}", f"heir-{change}"
    add_user(ready, owner, "1")
    add_user(ready, heir, "1")
    key = add_token(ready, owner, change, "--usd", "1")
    fault = upstream.fault(model=MODEL, stall_after=2)
    with client(ready, key) as http:
        until(lambda: http.get("/v1/models").status_code == 200)
        with http.stream("POST", "/v1/chat/completions", json={**EXACT, "stream": True}) as answer:
            lines = answer.iter_lines()
            next(lines)

            # When the token goes, and then the upstream goes on
            code = f"""
from django.utils import timezone
from accounts.models import User
from gateway.models import Token
token = Token.objects.get(name='{change}')
{CHANGES[change]}
token.save()
"""
            ready.manage("shell", "-v0", "-c", code)
            fault.release()
            assert "data: [DONE]" in list(lines)

    # Then its owner and its limit paid the exact price, and the heir nothing
    upstream.reset()
    paid = json.loads(ready.manage("money", "statement", "--user", owner, "--json").stdout)
    assert [line["amount_nanodollars"] for line in paid["lines"]] == [10**9, -price]
    assert json.loads(ready.manage("money", "statement", "--user", heir, "--json").stdout)["closing_nanodollars"] == 10**9
    assert audit(ready)["ok"]
