"""Why an SQLite journal takes no event now, as far as it can be seen from beside the service."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from relay.journal.files import FileLock, LockTimeout, beside
from relay.journal.sqlite_readers import foreign_writer

PATIENCE = 1.0
"""Seconds for which a lock is asked for: a batch holds it for a hundredth of that."""

_PAUSE = 0.1


def no_room(path: Path, reserve: int) -> str | None:
    """Its disk is full, or may not be written to."""
    folder = path.parent
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"the file system of {folder} is mounted read-only"
    free = shutil.disk_usage(folder).free
    if free >= reserve:
        return None
    return f"{free >> 20} MiB are free in {folder}, and {reserve >> 20} MiB are kept for outcomes: make room"


def locked(path: Path, serving: Collection[int]) -> str | None:
    """Somebody holds its lock, or writes to it past the lock; None where it cannot be asked for.

    `serving` are the processes that serve it: one of them holds the lock while it waits for a foreign writer.
    """
    lock = beside(path, ".lock")
    if not lock.exists() or not os.access(lock, os.R_OK | os.W_OK):
        return None
    deadline = time.monotonic() + PATIENCE
    asked = FileLock(lock, patience=PATIENCE)
    try:
        while True:
            with asked.held():
                # No process of Relay writes meanwhile.
                writer = foreign_writer(path)
            if writer is None:
                return None
            if time.monotonic() >= deadline:
                return _foreign(writer)
            time.sleep(_PAUSE)
    except LockTimeout as error:
        writer = foreign_writer(path, but=serving)
        return str(error) if writer is None else _foreign(writer)
    finally:
        asked.close()


def _foreign(writer: str) -> str:
    return f"{writer}, which is not Relay, has a transaction open that writes to it: end that"
