"""A search of the upstream that has a price is set aside before it may be made."""

from typing import Any

import msgspec
import pytest

from billing.bounds import TOOL_CALLS
from billing.pricing import Price
from channels_app.attempt import Ask
from channels_app.provider import Operation
from gateway.config import RelayConfig
from gateway.keys import authenticate
from gateway.relay import Relay, amounts
from gateway.snapshot import Difference, Snapshots
from outbound.client_aiohttp import AiohttpTransport
from outbound.guard import Guard
from tests.gateway.in_memory import MODEL, FreeLedger, echoing
from tests.gateway.known import KEY, NOW, PRICE
from wire.peek import read_head
from wire.textsize import text_size

CENT = 10_000_000


def reserved(price: Price, **body: Any) -> tuple[int, int]:
    snapshots = Snapshots()
    snapshots.current = echoing()
    snapshots.current.apply(Difference(2, prices={1: (MODEL, price)}))
    relay = Relay(RelayConfig(), snapshots, FreeLedger(), AiohttpTransport(Guard("channel")))
    head = read_head(msgspec.json.encode({"model": MODEL, "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **body}))
    asked = Ask(operation=Operation.CHAT, head=head, body=b"", model=MODEL, stream=False, wants_usage=False, hops=0)
    offer = relay.offer(snapshots.current, authenticate(KEY.encode(), "203.0.113.7", snapshots.current, NOW), MODEL)
    return amounts(offer, relay.worst_case(offer, asked, MODEL, text_size(head)))


@pytest.mark.parametrize(
    ("body", "calls"),
    [
        ({}, 0),
        ({"web_search_options": {}}, TOOL_CALLS),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]}, 3),
        ({"web_search_options": {}, "n": 2}, 2 * TOOL_CALLS),
    ],
)
def test_each_allowed_call_is_set_aside_at_its_price(body: dict[str, Any], calls: int) -> None:
    whole, floor = reserved(msgspec.structs.replace(PRICE, per_tool_call=CENT), **body)
    plain, plain_floor = reserved(PRICE, **body)
    assert (whole - plain, floor - plain_floor) == (calls * CENT, 0)  # whether the model searches is not sure: the last cents need not hold it
