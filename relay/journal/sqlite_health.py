"""An SQLite journal looked over: its pages, its log and who holds that, its room."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from relay.journal import health
from relay.journal.engine import View
from relay.journal.file_lease import living
from relay.journal.files import beside
from relay.journal.health import Finding, probed
from relay.journal.schema import node
from relay.journal.sqlite_opening import view_file

_LOG_IS_LARGE = 64 << 20
"""Bytes of log that no checkpoint lets come together unless a reader holds it."""

_FIRST_READ_LOCK, _LAST_READ_LOCK = 123, 127
"""The bytes of the `-shm` file that SQLite's readers lock (sqlite.org/walformat.html, 2.3.1)."""

_LOOKS = 15
_PAUSE = 0.1
"""Who holds the same lock at so many looks, so far apart, is no reader of Relay's own."""

_MIB = 1 << 20


def examine_file(path: Path) -> list[Finding]:
    """Look it over; JournalRefused where it is none, or must not be used."""
    view = view_file(path)
    try:
        findings = [
            *probed(view, "version", health.version),
            *probed(view, "integrity", _integrity),
            *probed(view, "ledger", health.ledger),
            *probed(view, "size", partial(_size, path=path)),
            *probed(view, "clock", partial(health.clock, server=None)),
            *probed(view, "node", lambda connection: health.nodes(connection, living(connection, path))),
        ]
        ours = _served_by(view, path)
    finally:
        view.close()
    return [*findings, *_readers(path, ours)]


def _integrity(connection: sa.Connection) -> Iterator[Finding]:
    began = time.monotonic()
    wrong = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA quick_check(5)")]
    if wrong == ["ok"]:
        yield Finding(
            about="integrity", ok=True, says=f"quick_check: ok, in {time.monotonic() - began:.1f} s"
        )
    else:
        yield Finding(
            about="integrity",
            ok=False,
            says="quick_check: " + "; ".join(" ".join(one.split()) for one in wrong),
            do="stop the service, keep the file with its -wal as it is, and restore a backup, or what"
            " `sqlite3 FILE .recover` can read; then look for the fault in disk and memory",
        )


def _size(connection: sa.Connection, path: Path) -> Iterator[Finding]:
    pages, free, page = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    yield Finding(
        about="size",
        ok=True,
        says=f"{pages * page / _MIB:.1f} MiB, of which {free * page / _MIB:.1f} MiB are free for what comes;"
        f" log {_log(path) / _MIB:.1f} MiB",
    )


def _log(path: Path) -> int:
    log = beside(path, "-wal")
    return log.stat().st_size if log.exists() else 0


def _served_by(view: View, path: Path) -> set[int]:
    """The processes of this machine that serve it: their reads are many, and short."""

    def pids(connection: sa.Connection) -> Iterator[Finding]:
        alive = living(connection, path)
        found.update(row.pid for row in connection.execute(sa.select(node)) if row.id in alive)
        yield from ()

    found: set[int] = set()
    probed(view, "node", pids)
    return found


def _readers(path: Path, ours: set[int]) -> Iterator[Finding]:
    """Who holds a snapshot for long; the log cannot be emptied as long as that is."""
    log = _log(path)
    held = sorted(_long_readers(path) - ours)
    names = ", ".join(f"process {pid} ({_name(pid)})" for pid in held)
    if held:
        yield Finding(
            about="readers",
            ok=log < _LOG_IS_LARGE,
            says=f"{names} reads the journal for over {_LOOKS * _PAUSE:.1f} s without a pause; the log, now"
            f" {log / _MIB:.1f} MiB, grows meanwhile",
            do="end it, or have it read in short transactions" if log >= _LOG_IS_LARGE else "",
        )
    elif log >= _LOG_IS_LARGE:
        yield Finding(
            about="readers",
            ok=True,
            says=f"nobody holds the log now; it grew to {log / _MIB:.1f} MiB, is used again from its"
            " beginning, and goes when the service is stopped",
        )
    else:
        yield Finding(about="readers", ok=True, says="nobody holds the log")


def _long_readers(path: Path) -> set[int]:
    """The processes that hold one read lock at every look; none where the kernel does not tell."""
    found = _locks(path)
    for _ in itertools.repeat(None, _LOOKS):
        if not found:
            break
        time.sleep(_PAUSE)
        found &= _locks(path)
    return {pid for pid, _ in found} - {os.getpid()}


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
