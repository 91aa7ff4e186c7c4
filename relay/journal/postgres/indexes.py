"""Indexes that came after the first release: made beside nodes at work, which a migration would lock out.

A large table is read whole for an index, and in the migration's transaction nobody could write to it
meanwhile.
"""

from __future__ import annotations

import time

from relay.journal.postgres.engine import Address

_ADDED = {
    "ix_delivery_behind": "ON delivery (destination, seq) WHERE behind_since IS NOT NULL",
}
_ONE_AT_A_TIME = 0x72656C617969
"""The advisory lock of whoever makes them: one that another makes just now looks as if it was cut off."""

_PAUSE = 0.2
_SESSION = {"statement_timeout": "0", "lock_timeout": "0"}
_IS_VALID = (
    "SELECT indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
    " WHERE relname = %s AND pg_table_is_visible(indexrelid)"
)


def make_indexes(address: Address) -> None:
    """Make those that are missing, and again those that were cut off; waits for older transactions."""
    with address.connect(_SESSION) as connection:
        connection.autocommit = True
        # Asked again and again: who waits in a statement is waited for by whoever makes an index.
        while connection.execute("SELECT pg_try_advisory_lock(%s)", [_ONE_AT_A_TIME]).fetchone() != (True,):
            time.sleep(_PAUSE)
        for name, definition in _ADDED.items():
            found = connection.execute(_IS_VALID, [name]).fetchone()
            if found == (False,):
                connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
            if found != (True,):
                connection.execute(f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} {definition}".encode())
