"""Why an SQLite journal takes no event now, as far as it can be seen from beside the service."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from relay.journal.sqlite.locks import beside, free_bytes
from relay.journal.sqlite.long_readers import foreign_writer
from relay.process import lock_holder

PATIENCE = 1.0
"""Seconds for which a lock is asked for: a batch holds it for a hundredth of that."""

_PAUSE = 0.1
_LOOK = 0.001


def no_room(path: Path, reserve: int) -> str | None:
    """Its disk is full, or may not be written to."""
    folder = path.parent
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"the file system of {folder} is mounted read-only"
    free = free_bytes(folder)
    if free >= reserve:
        return None
    return f"{free >> 20} MiB are free in {folder}, and {reserve >> 20} MiB are kept for outcomes: make room"


def locked(path: Path, serving: Collection[int]) -> str | None:
    """Somebody holds its lock, or writes to it past the lock; None where it cannot be asked for.

    `serving` are the processes that serve it: one of them holds the lock while it waits for a foreign writer.
    """
    lock = beside(path, ".lock")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with _in_turn(lock, deadline) as is_ours:
                # No process of Relay writes meanwhile, if it is.
                writer = foreign_writer(path, but=() if is_ours else serving)
        except OSError:  # it is not there, or is not for this user to ask for
            return None
        if writer is None:
            return (
                None if is_ours else f"its lock is held for over {PATIENCE:g} s by {lock_holder.name(lock)}"
            )
        if time.monotonic() >= deadline:
            return _foreign(writer)
        time.sleep(_PAUSE)


@contextlib.contextmanager
def _in_turn(lock: Path, deadline: float) -> Iterator[bool]:
    """Hold the lock behind whoever comes first, as writers do; whether it was had in time.

    The files are neither made nor signed: those who only look must not push out the names of those who write.
    """
    with lock.open("rb") as turn, beside(lock, ".next").open("rb") as following:
        yield _taken(following.fileno(), deadline) and _taken(turn.fileno(), deadline)


def _taken(descriptor: int, deadline: float) -> bool:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK)
        else:
            return True


def _foreign(writer: str) -> str:
    return f"{writer}, which is not Relay, has a transaction open that writes to it: end that"
