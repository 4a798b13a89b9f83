"""Many clients at once, and what must add up afterwards."""

import asyncio
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import psycopg

from tests.e2e.arrange import EXACT, add_token, add_user, audit, client, until
from tests.server import Server, children


def web_processes(server: Server) -> list[int]:
    """The relay processes that live."""
    return children(server.pid, "oneapi_site.web")


def funded(server: Server, name: str, nano: int) -> str:
    """A key of a new user with so much money, once the relay knows it."""
    add_user(server, name, f"{nano / 10**9:.9f}")
    key = add_token(server, name)
    with client(server, key) as http:
        until(lambda: all(http.get("/v1/models", headers={"Connection": "close"}).status_code == 200 for _ in range(12)))
    return key


def at_once(server: Server, key: str, count: int, body: dict[str, object] = EXACT) -> list[int]:
    """The statuses of so many requests on as many connections; 0 where the connection broke."""

    async def ask(http: httpx.AsyncClient) -> int:
        try:
            return (await http.post("/v1/chat/completions", json=body)).status_code
        except httpx.HTTPError:
            return 0

    async def run() -> list[int]:
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=0)
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=120, limits=limits) as http:
            return await asyncio.gather(*(ask(http) for _ in range(count)))

    return asyncio.run(run())


def one_by_one(server: Server, key: str, count: int) -> list[int]:
    """The statuses of requests one after the other, each on a connection of its own: any process may get it."""
    with client(server, key) as http:
        return [http.post("/v1/chat/completions", json=EXACT, headers={"Connection": "close"}).status_code for _ in range(count)]


class Load:
    """What clients got to its end while a crowd asked."""

    def __init__(self) -> None:
        self.delivered = 0
        self.statuses: set[int] = set()
        self.lock = threading.Lock()
        self.stopping = threading.Event()

    def await_more(self, count: int) -> None:
        """Until so many more have their answer."""
        wanted = self.delivered + count
        until(lambda: self.delivered >= wanted, 60)


@contextmanager
def load(server: Server, key: str, workers: int = 8) -> Iterator[Load]:
    """Clients that ask again and again, plain and streamed in turn, until the end of the block."""
    state = Load()

    def work(number: int) -> None:
        stream = bool(number % 2)
        while not state.stopping.is_set():
            try:
                with client(server, key) as http:
                    answer = http.post("/v1/chat/completions", json={**EXACT, "stream": stream}, headers={"Connection": "close"})
            except httpx.HTTPError:
                continue
            whole = answer.status_code == 200 and (not stream or answer.text.rstrip().endswith("data: [DONE]"))
            with state.lock:
                state.delivered += whole
                state.statuses.add(answer.status_code)
            stream = not stream

    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(work, number) for number in range(workers)]
        try:
            yield state
        finally:
            state.stopping.set()
            for one in running:
                one.result(120)


def settled(server: Server) -> dict[str, object]:
    """The audit, once no lease is outstanding: an idle system has none."""

    def idle() -> bool:
        return query(server, "SELECT count(*) FROM billing_lease")[0][0] == 0

    until(idle, 30)
    found = audit(server)
    assert found["ok"], json.dumps(found["differences"])
    return found


def query(server: Server, statement: str) -> list[tuple[object, ...]]:
    """Rows from the server's PostgreSQL."""
    with psycopg.connect(server.env.get("DIRECT_DATABASE_URL") or server.database_url) as connection:
        return connection.execute(statement.encode()).fetchall()
