"""What all tests share: the databases, the real server, and the order (fast files first, then slow ones, browsers last)."""

import os
from collections.abc import Iterator

import pytest

from tests.browser import chromium
from tests.server import Database, Server, start_server
from tests.services import provided
from tests.upstream.server import Upstream, serve

USES_DATABASE = {"db", "transactional_db", "django_db_reset_sequences", "live_server"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database-only", action="store_true", help="only tests that use Django's database: the run on the second database")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders whole files, and leaves out what a run on another database would only repeat."""
    if config.getoption("--database-only"):
        kept = [item for item in items if uses_database(item)]
        config.hook.pytest_deselected(items=[item for item in items if not uses_database(item)])
        items[:] = kept
    rank: dict[str, int] = {}
    for item in items:
        file = item.nodeid.partition("::")[0]
        rank[file] = max(rank.get(file, 0), slowness(item))
    items.sort(key=lambda item: rank[item.nodeid.partition("::")[0]])


def uses_database(item: pytest.Item) -> bool:
    """Whether the outcome may depend on Django's database."""
    return item.get_closest_marker("django_db") is not None or bool(USES_DATABASE & set(getattr(item, "fixturenames", ())))


def slowness(item: pytest.Item) -> int:
    """0 fast, 1 starts servers, 2 drives a browser (whose event loop stays in the process: nothing else may follow)."""
    if "browser" in getattr(item, "fixturenames", ()):
        return 2
    return 1 if item.get_closest_marker("slow") else 0


@pytest.fixture(scope="session")
def services() -> Iterator[None]:
    """PostgreSQL and Redis: the run's, where script/test started them, else this process's own."""
    with provided():
        yield


@pytest.fixture(scope="session")
def redis_url(services: None) -> str:
    """A Redis for tests; clean up what you put there."""
    return os.environ["TEST_REDIS_URL"]


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Database:
    """Both databases, one after the other."""
    if request.param == "postgres":
        request.getfixturevalue("services")
    return request.param  # type: ignore[no-any-return]  # one of the two literals above


@pytest.fixture(scope="module")
def server(database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server on each database, shared by a module's tests."""
    started = start_server(tmp_path_factory.mktemp("server"), database)
    yield started
    started.kill()


@pytest.fixture(scope="session")
def simulator() -> Iterator[Upstream]:
    """The provider simulator, one a worker."""
    with serve() as running:
        yield running


@pytest.fixture
def upstream(simulator: Upstream) -> Iterator[Upstream]:
    """The simulator without faults and memories; it leaves none to the next file either."""
    simulator.reset()
    yield simulator
    simulator.reset()


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, object]) -> dict[str, object]:
    """The system's Chromium; root may only run it without its sandbox."""
    return {**browser_type_launch_args, "executable_path": chromium(), "args": ["--no-sandbox"]}
