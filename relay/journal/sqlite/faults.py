"""Whose fault an error of an SQLite journal is."""

from __future__ import annotations

import sqlite3

from relay.journal.faults import Fault
from relay.journal.sqlite.locks import LockTimeout
from relay.journal.sqlite.open_files import Misplaced

_ROWS_FAULT = frozenset(
    {sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
)
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_STATEMENTS_FAULT = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_SCHEMA})


def fault_of(error: Exception) -> Fault:
    """Whose fault an error is that came of a write to a file."""
    if isinstance(error, LockTimeout | Misplaced):  # the connection is as it was
        return Fault.BUSY
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OverflowError | UnicodeEncodeError):  # the driver has no form for such a value
        return Fault.ROW
    code = getattr(cause, "sqlite_errorcode", None)
    if code is None:
        return (
            Fault.OUTAGE
            if isinstance(cause, sqlite3.OperationalError | OSError | MemoryError)
            else Fault.OURS
        )
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER or code & 0xFF in _STATEMENTS_FAULT:
        return Fault.STATEMENT
    if code & 0xFF in _ROWS_FAULT:
        return Fault.ROW
    return Fault.BUSY if code & 0xFF in _BUSY else Fault.OUTAGE
