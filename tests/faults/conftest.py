"""What holds for every experiment."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _services_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracer in the services that a fault befalls: it makes them slow, and is killed with them."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
