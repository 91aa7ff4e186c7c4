"""Who reads an SQLite journal without a pause: its log cannot be emptied as long as that is."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Collection
from pathlib import Path

from relay.journal.files import beside

LOG_IS_LARGE = 64 << 20
"""Bytes of log that no checkpoint lets come together unless a reader holds it."""

_FIRST_READ_LOCK, _LAST_READ_LOCK = 123, 127
"""The bytes of the `-shm` file that SQLite's readers lock (sqlite.org/walformat.html, 2.3.1)."""

_LOOKS = 15
_PAUSE = 0.1
"""Who holds the same lock at so many looks, so far apart, is no reader of Relay's own."""

LONG = _LOOKS * _PAUSE
"""Seconds that `long_readers` takes where there are readers at all."""


def size_of_log(path: Path) -> int:
    """Bytes of the log beside a journal."""
    log = beside(path, "-wal")
    return log.stat().st_size if log.exists() else 0


def long_readers(path: Path, *, but: Collection[int] = ()) -> list[str]:
    """The processes that hold one read lock at every look, by name; none where the kernel does not tell.

    `but` are those that serve the journal: their reads are many, and short.
    """
    found = _locks(path)
    for _ in itertools.repeat(None, _LOOKS):
        if not found:
            break
        time.sleep(_PAUSE)
        found &= _locks(path)
    pids = {pid for pid, _ in found} - {os.getpid()} - set(but)
    return [f"process {pid} ({_name(pid)})" for pid in sorted(pids)]


def _locks(path: Path) -> set[tuple[int, int]]:
    """Process and byte of each read lock now; the file itself must not be opened, see `sqlite`."""
    try:
        inode = beside(path, "-shm").stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return set()
    found = set()
    for line in lines:
        # 7: POSIX  ADVISORY  READ 4711 08:01:131079 124 124
        words = line.split()
        if len(words) == 8 and words[3] == "READ" and words[5].endswith(f":{inode}"):  # noqa: PLR2004
            pid, first = int(words[4]), int(words[6])
            if _FIRST_READ_LOCK <= first <= _LAST_READ_LOCK:
                found.add((pid, first))
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "unknown"
