"""What end-to-end tests set up through the operator's own commands, and what they read back."""

import json
import time
from collections.abc import Callable
from typing import Any

import httpx

from tests.server import Server

MODEL = "gpt-4o-mini"
UPSTREAM_KEY = "sk-upstream-key-of-the-simulator-0001"
EXACT = {"model": MODEL, "max_tokens": 15, "messages": [{"role": "user", "content": "twelve bytes"}]}
"""A request whose worst case equals its cost at the simulator: 12 bytes and a message are 20 tokens, and it answers with 15."""


def add_channel(server: Server, base_url: str, name: str = "mock", models: str = MODEL, key: str = UPSTREAM_KEY, **more: object) -> None:
    """An OpenAI channel; `more` are further flags of the command."""
    flags = [part for flag, value in more.items() for part in (f"--{flag}", str(value))]
    server.manage("channel", "add", "--provider", "openai", "--name", name, "--base-url", base_url, "--key", key, "--models", models, *flags)


def add_user(server: Server, name: str, usd: str | None = None) -> None:
    """A user, with money in the wallet if given."""
    server.manage("user", "add", "--user", name, "--password", "a password of their own", "--group", "default")
    if usd is not None:
        server.manage("user", "credit", "--user", name, "--usd", usd)


def add_token(server: Server, user: str = "admin", name: str = "t", *flags: str) -> str:
    """A token's key."""
    return server.manage("token", "add", "--user", user, "--name", name, *(flags or ("--unlimited",))).stdout.strip()


def await_key(server: Server, key: str, model: str = MODEL) -> str:
    """The key, once the relay knows it and serves it the model; a change has a second for that."""
    with client(server, key) as http:
        until(lambda: model in http.get("/v1/models").text)
    return key


def audit(server: Server) -> dict[str, Any]:
    """What the audit finds; its exit code is asserted by the caller through `ok`."""
    found: dict[str, Any] = json.loads(server.manage("audit", "--json", check=False).stdout)
    return found


def price_of_exact(server: Server) -> int:
    """Nano-dollars of 20 input and 15 output tokens."""
    rows = json.loads(server.manage("price", "list", "--json").stdout)
    row = next(row for row in rows if row["model"] == MODEL)
    return usd_to_nano(row["input"], 20) + usd_to_nano(row["output"], 15)


def usd_to_nano(usd_per_million: str, tokens: int) -> int:
    """The exact cost of tokens at a price in USD a million."""
    whole, _, fraction = usd_per_million.partition(".")
    nano_per_million = int(whole) * 10**9 + int((fraction + "0" * 9)[:9])
    return nano_per_million * tokens // 10**6


def client(server: Server, key: str, **more: Any) -> httpx.Client:
    """A plain HTTP client with that key."""
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, **more)


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Waits for something that must come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
