"""Locks on names, where several nodes write at once: numbers on PostgreSQL; a file has one lock for all."""

from __future__ import annotations

from hashlib import blake2b

import sqlalchemy as sa


def number_of(name: bytes) -> int:
    """The number of a name's lock: signed, of 64 bits. Nodes of every version must get the same."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)


def lock(connection: sa.Connection, name: bytes) -> None:
    """Wait for the lock, and keep it until the transaction ends."""
    if _has_locks(connection):
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number_of(name))))


def try_lock(connection: sa.Connection, name: bytes) -> bool:
    """Take the lock until the transaction ends, without waiting; False where another transaction has it."""
    if not _has_locks(connection):
        return True
    asked = sa.select(sa.func.pg_try_advisory_xact_lock(number_of(name)))
    return bool(connection.execute(asked).scalar_one())


def _has_locks(connection: sa.Connection) -> bool:
    return connection.dialect.name == "postgresql"
