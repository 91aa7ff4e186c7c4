"""Processes that share one standard output take turns at it, since a long write to a pipe may be torn."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def make_turns() -> int:
    """A descriptor to hand to each of the processes; the file behind it has no name, and nothing in it."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("relay-log")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


@contextmanager
def turn(descriptor: int | None) -> Iterator[None]:
    """Have standard output to oneself; the kernel ends the turn of a process that dies in it."""
    if descriptor is None:
        yield
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
    except OSError:  # out of locks: a line that may be torn is better than none
        yield
        return
    try:
        yield
    finally:
        fcntl.lockf(descriptor, fcntl.LOCK_UN)
