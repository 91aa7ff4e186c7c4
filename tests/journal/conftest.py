"""One journal per test, on each engine there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.journal import Journal, Reader
from tests.journal.making import StillClock, Told, opened


@pytest.fixture(params=["sqlite"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a journal that does not exist yet."""
    return f"{request.param}:///{tmp_path / 'relay.db'}"


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
    with opened(engine, clock=clock, hooks=hooks) as journal:
        yield journal


@pytest.fixture
def reader(engine: str, journal: Journal) -> Iterator[Reader]:
    """The same journal, to read."""
    with Reader.open(engine) as reader:
        yield reader
