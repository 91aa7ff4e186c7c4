"""The rows of the processes that serve: who they are, and which configuration they have in force."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection

import sqlalchemy as sa

import relay
from relay.journal.reads import delivery_rates
from relay.journal.reads.destination_state import read_standings
from relay.journal.tables import schema
from relay.journal.tables.facts import increase_fact, read_fact
from relay.journal.tables.rows import maybe_to_wire
from relay.journal.tables.schema import node as _node
from relay.journal.values import Look, Peer
from relay.journal.writes import claim
from relay.journal.writes.tx import Tx

_RELOAD = "reload"
"""The fact of a journal: how often a reload was asked for."""

_CHANGE = "change"
"""The fact of a journal: how often what processes must do was changed."""


def register(
    connection: sa.Connection, *, node: str, now: float, slot: int = 0, clock: float | None = None
) -> None:
    """Make the row of a process that serves; `clock` is its time less the machine's uptime."""
    connection.execute(
        sa.insert(_node).values(
            id=node,
            started_at=now,
            version=relay.__version__,
            host=socket.gethostname(),
            pid=os.getpid(),
            slot=slot,
            tables=schema.VERSION,
            clock=clock,
        )
    )


def taken_slots(connection: sa.Connection) -> set[int]:
    """The slots of the ledger that nodes have."""
    return {row.slot for row in connection.execute(sa.select(_node.c.slot).distinct())}


def first_free(taken: Collection[int]) -> int:
    """The slot that the next node gets: the first that no other has."""
    return min(set(range(len(taken) + 1)).difference(taken))


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
    return increase_fact(tx.connection, _RELOAD)


def reload_number(tx: Tx) -> int:
    """The number of the last request; 0 before the first."""
    return int(read_fact(tx.connection, _RELOAD) or 0)


def announce(tx: Tx) -> int:
    """Number a change of what processes must do: in the transaction that makes it, as its last statement."""
    return increase_fact(tx.connection, _CHANGE)


def change_number(tx: Tx) -> int:
    """The number of the last change."""
    return int(read_fact(tx.connection, _CHANGE) or 0)


def join(tx: Tx) -> int:
    """Number the coming of this node, which has begun nothing: it has taken all changes up to its own."""
    number = announce(tx)
    note_change(tx, change=number)
    return number


def note_change(tx: Tx, *, change: int) -> None:
    """Write down that this node goes by everything up to this change."""
    tx.connection.execute(sa.update(_node).where(_node.c.id == tx.node).values(change=change))


def look(tx: Tx, *, living: Callable[[Tx], set[str]], owned: bool) -> Look:
    """What processes do and must do.

    The number is read first: whatever it stands for is in what is read after it, also where each statement
    sees a newer state than the one before. What is owned is read last, after who has taken what.
    """
    change = change_number(tx)
    alive = living(tx)
    rows = tx.connection.execute(sa.select(_node.c.id, _node.c.change, _node.c.tables).order_by(_node.c.id))
    peers = tuple(
        Peer(node=row.id, change=row.change, answers=row.tables >= schema.ANSWERS_SINCE)
        for row in rows
        if row.id in alive
    )
    standings = read_standings(tx.connection)
    return Look(
        change=change,
        peers=peers,
        standings=standings,
        owned=delivery_rates.owned(tx.connection) if owned else None,
    )
