"""Fixtures that every kind of test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Receiver, RelayProcess

StartRelay = Callable[..., RelayProcess]


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
