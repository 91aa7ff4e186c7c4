"""Processes that a test started end with it, also where they never became ready."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end, and end it where it does not."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@contextmanager
def ended_on_failure(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process where what is waited for does not come."""
    try:
        yield
    except BaseException:
        end(process)
        raise
