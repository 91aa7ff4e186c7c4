"""Who reads an SQLite journal without a pause, and who writes to it past its lock, as the kernel tells."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Collection
from pathlib import Path

from relay.journal.sqlite.locks import beside
from relay.process.kernel_locks import locks_on, process_name

LOG_IS_LARGE = 64 << 20
"""Bytes of log that no checkpoint lets come together unless a reader holds it."""

_WRITE_LOCK = 120
_FIRST_READ_LOCK, _LAST_READ_LOCK = 123, 127
"""The bytes of the `-shm` file that SQLite's writer and readers lock (sqlite.org/walformat.html, 2.3.1)."""

_LOOKS = 15
_PAUSE = 0.1
"""Who holds the same lock at so many looks, so far apart, is no reader of Relay's own."""

LONG = _LOOKS * _PAUSE
"""Seconds that `long_readers` takes where there are readers at all."""


def size_of_log(path: Path) -> int:
    """Bytes of the log beside a journal."""
    try:
        return os.stat(f"{path}-wal").st_size  # noqa: PTH116 - for each batch: Path.stat is dearer
    except OSError:
        return 0


def long_readers(path: Path, *, but: Collection[int] = ()) -> list[str]:
    """The processes that hold one read lock at every look, by name; none where the kernel does not tell.

    `but` are those that serve the journal: their reads are many, and short.
    """
    found = {one for one in _locks(path) if _FIRST_READ_LOCK <= one[1] <= _LAST_READ_LOCK}
    for _ in itertools.repeat(None, _LOOKS):
        if not found:
            break
        time.sleep(_PAUSE)
        found &= _locks(path)
    pids = {pid for pid, _ in found} - {os.getpid()} - set(but)
    return [f"process {pid} ({process_name(pid)})" for pid in sorted(pids)]


def foreign_writer(path: Path, *, but: Collection[int] = ()) -> str | None:
    """The process in a transaction that writes, by name.

    None of Relay's while the caller has the file lock; else `but` are those that serve the journal.
    """
    for pid, byte in _locks(path, mode="WRITE"):
        if byte == _WRITE_LOCK and pid not in but:
            return f"process {pid} ({process_name(pid)})"
    return None


def _locks(path: Path, *, mode: str = "READ") -> set[tuple[int, int]]:
    """Process and byte of each such lock now; the file itself must not be opened, see `sqlite`."""
    locks = locks_on(beside(path, "-shm"))
    return {(lock.pid, lock.first) for lock in locks if lock.mode == mode}
