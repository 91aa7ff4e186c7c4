"""Fixtures that every kind of test may ask for."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.support import Receiver, RelayProcess
from tests.support.experiment import PROPERTY, Recorder, table
from tests.support.length import Length

if TYPE_CHECKING:
    from tests.support.databases import Databases, Server

StartRelay = Callable[..., RelayProcess]


hypothesis.settings.register_profile("relay", deadline=None)  # a busy machine proves nothing
hypothesis.settings.load_profile("relay")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--full-length`: with leases as long as a service's, and numbers as large as the experiments say."""
    parser.addoption("--full-length", action="store_true", help="run experiments in full length")


@pytest.fixture
def length(request: pytest.FixtureRequest) -> Length:
    """How long the experiment is to be."""
    return Length(full=request.config.getoption("--full-length"))


@pytest.fixture
def experiment(request: pytest.FixtureRequest) -> Recorder:
    """Where a test notes what it did and what became of each event."""
    return Recorder(request.node.user_properties, request.node.name.removeprefix("test_"))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of experiments where they ran in full length."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = [
        (row, report.outcome)
        for report in sorted(reports, key=lambda report: report.nodeid)
        if report.when == "call"
        for name, row in report.user_properties
        if name == PROPERTY
    ]
    if rows and config.getoption("--full-length"):
        terminalreporter.section("experiments")
        for line in table(rows):
            terminalreporter.line(line)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A downstream that answers 200 until it is told otherwise."""
    with Receiver() as server:
        yield server


@pytest.fixture
def start_relay(tmp_path: Path) -> Iterator[StartRelay]:
    """Start a service on a configuration text; keywords as RelayProcess takes them, `start=False` to wait."""
    started: list[RelayProcess] = []

    def start_one(config: str, *, start: bool = True, **options: Any) -> RelayProcess:
        relay = RelayProcess(tmp_path / f"relay-{len(started)}", config, **options)
        started.append(relay)
        return relay.start() if start else relay

    yield start_one
    for relay in started:
        relay.close()


@pytest.fixture(scope="session")
def databases(testrun_uid: str, worker_id: str) -> Iterator[Databases]:
    """Databases on one PostgreSQL server for all the tests, also where several processes run them."""
    from tests.support.databases import Databases, Server  # noqa: PLC0415 - not where no test asks for it

    server = Server(testrun_uid, quick=True)
    databases = Databases(server, worker_id)
    yield databases
    databases.close()
    server.close()


@pytest.fixture
def own_server() -> Iterator[Server]:
    """A PostgreSQL server as it comes, for a test that ends it or asks much of it."""
    from tests.support.databases import Server  # noqa: PLC0415 - not where no test asks for it

    server = Server(uuid.uuid4().hex, quick=False)
    yield server
    server.close()
