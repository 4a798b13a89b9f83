"""The seam's tests run with each client that stands behind it, on uvloop as in production and on asyncio's own loop."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from tests.outbound import upstream


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.module.__name__.rpartition(".")[2].startswith("test_transport_"):
        metafunc.parametrize("_client", list(upstream.CLIENTS), indirect=True)


@pytest.fixture(autouse=True)
def _client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream, "client_under_test", getattr(request, "param", "http1"))
