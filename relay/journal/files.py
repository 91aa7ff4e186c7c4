"""Locks on files: one for all who write to a journal, and one by which a process shows that it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

_PAUSE = 0.00025
"""Seconds between two looks at a lock: a twentieth of what a batch takes on a good disk."""


def beside(path: Path, suffix: str) -> Path:
    """A file that goes with the database's file."""
    return path.with_name(path.name + suffix)


class LockTimeout(OSError):
    """Another process has held the lock for too long."""


class FileLock:
    """A lock between processes and between journals of one process; one thread uses an instance.

    It is taken in turns: a second lock is that of the one who comes next, so that who lets go and comes
    again at once must wait behind it. Without it one of two busy writers may starve for a tenth of a
    second.
    """

    def __init__(self, path: Path, *, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._turn = _opened(path)
        self._next = _opened(beside(path, ".next"))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold it; asks again and again, since a blocking flock could not be given up after a while."""
        self._take()
        try:
            yield
        finally:
            fcntl.flock(self._turn, fcntl.LOCK_UN)

    def _take(self) -> None:
        deadline = time.monotonic() + self._patience
        self._wait_for(self._next, deadline)
        try:
            self._wait_for(self._turn, deadline)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    def _wait_for(self, descriptor: int, deadline: float) -> None:
        while not _try_lock(descriptor):
            if time.monotonic() >= deadline:
                raise LockTimeout(f"{self._path} is held by another process for over {self._patience:g} s")
            time.sleep(_PAUSE)

    def close(self) -> None:
        """Give up the files."""
        os.close(self._turn)
        os.close(self._next)


class Life:
    """A file that is locked as long as its process lives: the kernel lets go whatever kills it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = _opened(path)
        # Not LOCK_NB: a reader that asks whether this life is lived holds it for a moment.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def end(self) -> None:
        """End it in good order; the file goes too."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def is_alive(path: Path) -> bool:
    """Whether a process holds this file of a life."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # whoever may only read may ask, too
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        return not _try_lock(descriptor)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
