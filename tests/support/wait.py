"""Waiting for what another thread or process will do, with a bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    what: Callable[[], T | None], *, timeout: float = 15.0, describe: Callable[[], str] | None = None
) -> T:
    """Ask again until the answer is true, and return it; AssertionError when `timeout` has passed."""
    deadline = time.monotonic() + timeout
    while True:
        answer = what()
        if answer:
            return answer
        if time.monotonic() > deadline:
            detail = f": {describe()}" if describe else ""
            raise AssertionError(f"nothing came within {timeout} s{detail}")
        time.sleep(0.02)
