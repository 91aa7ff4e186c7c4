"""Fixtures of the acceptance tests: the real service, started and ended for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import RelayProcess

StartRelay = Callable[..., RelayProcess]


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
