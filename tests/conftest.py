"""Fixtures that every kind of test may ask for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A downstream that answers 200 until it is told otherwise."""
    with Receiver() as server:
        yield server
