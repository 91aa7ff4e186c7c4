"""One journal per test, on each engine there is."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from relay.journal import Journal, Reader
from tests.journal.making import QUICK, Fresh, StillClock, Told, opened
from tests.support.journals import prepare
from tests.support.length import Length

if TYPE_CHECKING:
    from tests.support.databases import Databases


@contextlib.contextmanager
def _file() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield prepare(Path(folder) / "relay.db")


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh(request: pytest.FixtureRequest, length: Length) -> Fresh:
    """New journals, for a test that needs many."""
    if request.param == "sqlite":
        return Fresh(_file, length.count(20, short=10))
    databases: Databases = request.getfixturevalue("databases")
    return Fresh(databases.one, length.count(8, short=4))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a journal that has nothing in it, and that nobody has opened yet."""
    if request.param == "sqlite":
        yield prepare(tmp_path / "relay.db")
    else:
        databases: Databases = request.getfixturevalue("databases")
        with databases.one() as url:
            yield url


@pytest.fixture
def clock() -> StillClock:
    """A clock that goes when the test says so."""
    return StillClock()


@pytest.fixture
def hooks() -> Told:
    """Hooks that remember."""
    return Told()


@pytest.fixture
def journal(engine: str, clock: StillClock, hooks: Told) -> Iterator[Journal]:
    """A journal, open in a process that serves."""
    with opened(engine, clock=clock, hooks=hooks, append_timeout=30.0, times=QUICK) as journal:
        yield journal


@pytest.fixture
def reader(engine: str, journal: Journal) -> Iterator[Reader]:
    """The same journal, to read."""
    with Reader.open(engine) as reader:
        yield reader
