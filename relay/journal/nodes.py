"""The rows of the processes that serve: who they are, and which configuration they have in force."""

from __future__ import annotations

import os
import socket

import sqlalchemy as sa

import relay
from relay.journal import claim, schema
from relay.journal.codec import maybe_to_wire
from relay.journal.schema import meta
from relay.journal.schema import node as _node
from relay.journal.tx import Tx

_is_reload = meta.c.key == "reload"


def register(connection: sa.Connection, *, node: str, now: float, slot: int = 0) -> None:
    """Make the row of a process that serves."""
    connection.execute(
        sa.insert(_node).values(
            id=node,
            started_at=now,
            version=relay.__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
            slot=slot,
            tables=schema.VERSION,
        )
    )


def unregister(tx: Tx) -> None:
    """Give back what this node still owns and remove its row."""
    claim.rescue_forgotten(tx, (), after=0.0)
    tx.connection.execute(sa.delete(_node).where(_node.c.id == tx.node))


def note_config(tx: Tx, *, digest: str, reload: int, error: str | None) -> None:
    """Write down what this node has in force; a command has no row, and nothing to write."""
    tx.connection.execute(
        sa.update(_node)
        .where(_node.c.id == tx.node)
        .values(config=digest, reload=reload, config_error=maybe_to_wire(error))
    )


def request_reload(tx: Tx) -> int:
    """Count one more request to take the configuration anew; its number."""
    number = sa.cast(meta.c.value, sa.BigInteger) + 1
    counted = sa.update(meta).where(_is_reload).values(value=sa.cast(number, sa.Text)).returning(meta.c.value)
    return int(tx.connection.execute(counted).scalar_one())


def reload_number(tx: Tx) -> int:
    """The number of the last request; 0 before the first."""
    return int(tx.connection.execute(sa.select(meta.c.value).where(_is_reload)).scalar_one())
