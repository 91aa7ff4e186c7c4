"""An SQLite journal looked over: its pages, its log and who holds that, its room."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from relay.errors import JournalUnavailable
from relay.journal import findings
from relay.journal.findings import Finding, probed
from relay.journal.sqlite.lease import living
from relay.journal.sqlite.long_readers import LOG_IS_LARGE, LONG, long_readers, size_of_log
from relay.journal.sqlite.opening import view_file
from relay.journal.sqlite.view import SqliteView

_MIB = 1 << 20


def examine_file(path: Path) -> list[Finding]:
    """Look it over; JournalRefused where it is none, or must not be used."""
    view = view_file(path)
    try:
        return [
            *probed(view, "version", findings.version),
            *probed(view, "integrity", _integrity),
            *probed(view, "ledger", findings.ledger),
            *probed(view, "losses", findings.losses),
            *probed(view, "size", partial(_size, path=path)),
            *probed(view, "clock", partial(findings.clock, server=None)),
            *probed(view, "node", lambda connection: findings.nodes(connection, living(connection, path))),
            *_readers(view, path),
        ]
    finally:
        view.close()


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
        f" log {size_of_log(path) / _MIB:.1f} MiB",
    )


def _readers(view: SqliteView, path: Path) -> Iterator[Finding]:
    """Who holds a snapshot for long; the log cannot be emptied as long as that is."""
    try:
        ours = view.served_by()
    except JournalUnavailable:  # told by the probes before
        ours = set()
    log = size_of_log(path)
    readers = long_readers(path, but=ours)
    if readers:
        yield Finding(
            about="readers",
            ok=log < LOG_IS_LARGE,
            says=f"{', '.join(readers)} reads the journal for over {LONG:.1f} s without a pause; the log, now"
            f" {log / _MIB:.1f} MiB, grows meanwhile",
            do="end it, or have it read in short transactions" if log >= LOG_IS_LARGE else "",
        )
    elif log >= LOG_IS_LARGE:
        yield Finding(
            about="readers",
            ok=True,
            says=f"nobody holds the log now; it grew to {log / _MIB:.1f} MiB, is used again from its"
            " beginning, and goes when the service is stopped",
        )
    else:
        yield Finding(about="readers", ok=True, says="nobody holds the log")
