"""Real servers for the session: Valkey and an S3 server on free ports, started here and ended here."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support import ROOT, model_variables, write_model
from tests.torture.bench import Bench, running_bench
from worker.local import servers
from worker.local.process import Process
from worker.local.stack import Endpoints, Stack, running_stack
from worker.queue.sweeper import GRACE_S
from worker.storage import ObjectStore

FRESH = itertools.count(1)
LOG_LINES = 40


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what makes the fault tests long."""
    parser.addoption("--torture", action="store_true", help="run the fault tests in their full form")
    parser.addoption("--redis-server", help="run all tests on this server instead of the wheel's Valkey")


def pytest_configure(config: pytest.Config) -> None:
    """Take the server that the tests are to run on."""
    if program := config.getoption("--redis-server"):
        servers.valkey_program = lambda: program


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """Show the end of the workers' log where a test failed that had workers."""
    report: Any = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and isinstance(stack, Stack) and (log := stack.logs / "worker.log").exists():
        lines = log.read_text(errors="replace").splitlines()
        report.sections.append(("the end of the workers' log", "\n".join(lines[-LOG_LINES:])))
    return report


@pytest.fixture(scope="session")
def torture(request: pytest.FixtureRequest) -> bool:
    """Whether the fault tests run in their full form."""
    return bool(request.config.getoption("--torture"))


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Servers and stand-in workers for fault tests that leave the servers alive."""
    with running_bench(tmp_path_factory.mktemp("bench")) as running:
        while running.redis.info("server")["uptime_in_seconds"] < GRACE_S:
            time.sleep(0.1)
        yield running


@pytest.fixture
def own_bench(tmp_path: Path) -> Iterator[Bench]:
    """Servers and stand-in workers of one test, which may kill them."""
    with running_bench(tmp_path) as running:
        yield running


@pytest.fixture
def seeds() -> Callable[[int], range]:
    """Ranges of seeds that no other test has."""

    def fresh(number: int) -> range:
        start = next(FRESH) * 10_000
        return range(start, start + number)

    return fresh


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Valkey and the S3 server; workers started in it end with the session."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        running.start_servers()
        yield running


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> Endpoints:
    """Where the servers are; database 0 belongs to the session's worker."""
    return stack.endpoints


@pytest.fixture(scope="session")
def store(endpoints: Endpoints) -> ObjectStore:
    """The session's bucket."""
    store = ObjectStore(endpoints.storage())
    store.ensure_bucket()
    return store


def empty_database(endpoints: Endpoints, number: int) -> Endpoints:
    """Return the servers with the Redis database of that number, which is emptied."""
    url = endpoints.redis_url.removesuffix("/0") + f"/{number}"
    client = redis.Redis.from_url(url)
    client.flushdb()
    client.close()
    return replace(endpoints, redis_url=url)


@pytest.fixture
def quiet(endpoints: Endpoints) -> Endpoints:
    """The servers, with a Redis database of its own that is empty and that no worker listens to."""
    return empty_database(endpoints, 9)


@pytest.fixture(scope="module")
def module_quiet(endpoints: Endpoints) -> Endpoints:
    """The same for all tests of a module, which share what they put there."""
    return empty_database(endpoints, 8)


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The folder of the best.pt and the tokenizer.json that ship."""
    return ROOT / "checkpoints"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with best.pt and tokenizer.json of a model that is quick to load."""
    return write_model(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="session")
def model_environment(demo_model: Path) -> dict[str, str]:
    """The variables that name the demo model."""
    return model_variables(demo_model)


@pytest.fixture(scope="session")
def worker(stack: Stack, model_environment: dict[str, str]) -> Process:
    """A worker process on the session's servers, ready."""
    return stack.start_worker(model_environment)
