"""Nothing is asked of an upstream before money is set aside for it, on any route; and no usage becomes a charge but through the one normaliser."""

import ast
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from billing.ledger.errors import NotEnough
from billing.ledger.reserve import Charge
from billing.pricing import charge
from channels_app.provider import Operation
from gateway.asgi import BILLING, OPERATIONS, RelayApp
from gateway.config import RelayConfig
from gateway.relay import Relay
from gateway.snapshot import Snapshots
from outbound.transport import MemoryAnswer, Request
from tests.billing.test_price_arithmetic import prices, ratios
from tests.gateway.asgi_client import Answer, ask
from tests.gateway.in_memory import FreeLedger, figures
from tests.gateway.known import KEY, snapshot, upstream
from wire.usage import UNKNOWN_LIMIT, normalise

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [path for name in ("wire", "outbound", "billing", "channels_app", "gateway", "oneapi_site") for path in (ROOT / name).rglob("*.py")]
BODIES: dict[Operation, dict[str, Any]] = {
    Operation.CHAT: {"messages": [{"role": "user", "content": "hi"}]},
    Operation.COMPLETIONS: {"prompt": "hi"},
    Operation.EMBEDDINGS: {"input": "hi"},
    Operation.MODERATIONS: {"input": "hi"},
}
PATHS = [*OPERATIONS.items(), ("/v1/engines/gpt-4o/embeddings", Operation.EMBEDDINGS)]
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
STREAMED = [Operation.CHAT, Operation.COMPLETIONS]
CASES = [(path, operation, stream) for path, operation in PATHS for stream in ((False, True) if operation in STREAMED else (False,))]


class WatchedLedger(FreeLedger):
    """Knows whether it holds a reserve; refuses where it has no money."""

    def __init__(self, money: bool) -> None:
        super().__init__()
        self.money = money
        self.held = 0

    @asynccontextmanager
    async def reserve(self, balances: object, amount: int, floor: int, counted: object = None) -> AsyncIterator[Charge]:
        """As the ledger's."""
        assert amount > 0
        if not self.money:
            raise NotEnough("wallet", 0)
        async with super().reserve(balances, amount, floor, counted) as charge:
            self.held += 1
            try:
                yield charge
            finally:
                self.held -= 1


class WatchedAnswer(MemoryAnswer):
    """Each byte is read under a reserve."""

    ledger: WatchedLedger

    async def read(self) -> bytes:
        """As the network's."""
        assert self.ledger.held
        return await super().read()


class WatchedTransport:
    """An upstream that answers everything, and says where a request had no reserve."""

    def __init__(self, ledger: WatchedLedger, usage: Any) -> None:
        self.ledger = ledger
        self.usage = usage
        self.asked: list[str] = []

    async def open(self, request: Request) -> WatchedAnswer:
        """As the network's."""
        assert self.ledger.held
        self.asked.append(request.url)
        operation = next(one for one in Operation if request.url.endswith(f"/{one.value}"))
        stream = bool(msgspec.json.decode(request.body).get("stream"))
        kind = "text/event-stream" if stream else "application/json"
        answer = WatchedAnswer(200, {"content-type": kind}, events(operation, self.usage) if stream else [whole(operation, self.usage)])
        answer.ledger = self.ledger
        return answer

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def open_connections(self) -> int:
        """None."""
        return 0


def whole(operation: Operation, usage: Any) -> bytes:
    """A plain answer with content."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "ho"}, "text": "ho", "finish_reason": "stop"}
    shapes: dict[Operation, dict[str, Any]] = {
        Operation.EMBEDDINGS: {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]},
        Operation.MODERATIONS: {"id": "modr-1", "results": [{"flagged": False}]},
    }
    return msgspec.json.encode({**shapes.get(operation, {"id": "x", "object": "x", "choices": [choice]}), "usage": usage})


def events(operation: Operation, usage: Any) -> list[bytes]:
    """The same as a stream, with the usage twice."""
    part = {"text": "ho"} if operation is Operation.COMPLETIONS else {"delta": {"content": "ho"}}
    first = {"id": "x", "choices": [{"index": 0, **part, "finish_reason": None}]}
    last = {"id": "x", "choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}]}
    said = {"id": "x", "choices": [], "usage": usage}
    return [b"data: " + msgspec.json.encode(one) + b"\n\n" for one in (first, last, said, said)] + [b"data: [DONE]\n\n"]


def gateway(ledger: WatchedLedger, usage: Any = USAGE) -> tuple[RelayApp, WatchedTransport]:
    """A relay whose only channel is the watched upstream."""
    snapshots = Snapshots()
    snapshots.current = snapshot(upstreams=(upstream(1, "gpt-4o"),))
    transport = WatchedTransport(ledger, usage)
    return RelayApp(Relay(RelayConfig(), snapshots, ledger, transport), figures), transport


async def post(app: RelayApp, path: str, operation: Operation, stream: bool) -> Answer:
    body = {"model": "gpt-4o", **BODIES[operation], **({"stream": True} if stream else {})}
    return await ask(app, "POST", path, key=KEY, headers={"content-type": "application/json"}, body=msgspec.json.encode(body))


@pytest.mark.parametrize(("path", "operation", "stream"), CASES)
async def test_every_route_that_asks_an_upstream_holds_a_reserve(path: str, operation: Operation, stream: bool) -> None:
    ledger = WatchedLedger(money=True)
    app, transport = gateway(ledger)

    answer = await post(app, path, operation, stream)

    assert answer.status == 200
    assert len(transport.asked) == len(ledger.booked) == 1
    assert ledger.held == 0
    facts = ledger.booked[0]
    assert (facts.counted, facts.input_tokens) == (False, 3)
    assert facts.amount > 0


@pytest.mark.parametrize(("path", "operation", "stream"), CASES)
async def test_without_money_no_route_asks_an_upstream(path: str, operation: Operation, stream: bool) -> None:
    ledger = WatchedLedger(money=False)
    app, transport = gateway(ledger)

    answer = await post(app, path, operation, stream)

    assert (answer.status, transport.asked, ledger.booked) == (403, [], [])


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o", *BILLING, "/v1/images/generations", "/v1/responses", "/v1/nothing"])
async def test_all_other_routes_ask_no_upstream(path: str) -> None:
    app, transport = gateway(WatchedLedger(money=True))

    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        await ask(app, method, path, key=KEY)

    assert transport.asked == []


def called(name: str) -> set[str]:
    """The modules that call a function or method of this name."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            function = node.func if isinstance(node, ast.Call) else None
            if (isinstance(function, ast.Name) and function.id == name) or (isinstance(function, ast.Attribute) and function.attr == name):
                found.add(str(path.relative_to(ROOT)))
    return found


def test_upstreams_are_asked_from_two_places_only() -> None:
    """The relay, within its reserve, and the health test, whose record is of its own kind and costs nobody anything."""
    assert called("attempt") == {"channels_app/health.py", "gateway/relay.py"}


def test_usage_is_made_in_four_places_only() -> None:
    """Read by the normaliser, bounded before, counted by ourselves, or thought of by who asks for a price."""
    assert called("Usage") == {"wire/usage.py", "billing/bounds.py", "gateway/delivery.py", "billing/quote.py"}
    assert called("normalise") == {"gateway/delivery.py", "channels_app/health.py"}


numbers = st.one_of(st.integers(-(2**64), 2**64), st.integers(0, 5000), st.floats(), st.booleans(), st.none(), st.text(max_size=3))
details = st.one_of(numbers, st.dictionaries(st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens"]), numbers))
hostile = st.one_of(
    numbers,
    st.lists(numbers, max_size=2),
    st.fixed_dictionaries(
        {},
        optional={
            "prompt_tokens": numbers, "completion_tokens": numbers, "total_tokens": numbers,
            "prompt_tokens_details": details, "completion_tokens_details": details, "input_tokens": numbers, "output_tokens": numbers,
            "cache_read_input_tokens": numbers, "cache_creation_input_tokens": numbers, "promptTokenCount": numbers,
            "candidatesTokenCount": numbers, "thoughtsTokenCount": numbers,
        },
    ),
)  # fmt: skip


@given(said=hostile, price=prices, ratio=ratios)
def test_no_usage_costs_less_than_nothing(said: Any, price: Any, ratio: int) -> None:
    usage = normalise(msgspec.json.encode(said), context=0, output_limit=0)

    if usage is not None:
        assert 0 <= usage.total_input <= UNKNOWN_LIMIT
        assert 0 <= charge(price, usage, ratio).amount <= 10**15


@settings(max_examples=25, deadline=None)
@given(said=hostile, stream=st.booleans())
def test_hostile_usage_is_counted_by_ourselves_and_never_pays_back(said: Any, stream: bool) -> None:
    ledger = WatchedLedger(money=True)
    app, _ = gateway(ledger, usage=said)

    answer = asyncio.run(post(app, "/v1/chat/completions", Operation.CHAT, stream))

    assert answer.status == 200
    (facts,) = ledger.booked
    assert 0 < facts.amount <= 10**15
    assert facts.counted or normalise(msgspec.json.encode(said), context=0, output_limit=0) is not None
    assert 0 < facts.input_tokens <= UNKNOWN_LIMIT
