"""The lives of processes that share a database: each renews a row, and watches those of the others.

No clock is compared with another's. A row counts how often it was renewed; who sees the same count for
long enough, by its own clock and while it could renew its own row without a gap, knows that the node is
gone. So an outage of the database, however long, makes nobody believe that the others are dead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import sqlalchemy as sa

from relay.journal.tables.schema import node as _node
from relay.journal.writes import nodes
from relay.journal.writes.tx import Tx
from relay.lease_times import TIMES, Times

SERVER_TIME: sa.ColumnClause[float] = sa.literal_column(
    "extract(epoch FROM clock_timestamp())::float8", sa.Double
)
_beat = (
    sa.update(_node)
    .where(_node.c.id == sa.bindparam("b_id"))
    .values(
        beats=sa.bindparam("b_beats"),
        beat_at=SERVER_TIME,
        wall_ahead=sa.bindparam("b_wall", type_=sa.Double) - SERVER_TIME,
    )
)
_others = sa.select(_node.c.id, _node.c.beats).where(_node.c.id != sa.bindparam("b_id"))


@dataclass(frozen=True, slots=True)
class _Seen:
    beats: int
    since: float


class RowLease:
    """A node's row, renewed by its writer with whatever it writes, or alone."""

    def __init__(self, node: str | None, times: Times) -> None:
        self.slot = 0
        self._times = times
        self._node = node
        self._began_at = 0.0
        self._noted: Callable[[Tx], None] | None = None
        self._beats = 0
        self._renewing_at: float | None = None
        self._renewed_at: float | None = None
        self._seen: dict[str, _Seen] = {}

    def register(self, connection: sa.Connection, now: float) -> None:
        """Make the row, with the first slot that no other has."""
        if self._node is None:
            return
        self.slot = nodes.first_free(nodes.taken_slots(connection))
        self._began_at = now
        nodes.register(connection, node=self._node, now=now, slot=self.slot)
        self._beat(connection)
        self._look(connection, now)
        self._renewing_at = now

    def is_due(self, now: float) -> bool:
        """Whether the last renewal is `renew_row` seconds old; never for a command."""
        if self._node is None:
            return False
        return self._renewed_at is None or now - self._renewed_at >= self._times.renew_row

    def renew(self, tx: Tx) -> None:
        """Renew the row, made again where it was taken for dead, and look at the others'."""
        if not self._beat(tx.connection):
            nodes.register(tx.connection, node=tx.node, now=self._began_at, slot=self.slot)
            self._beat(tx.connection)
            if self._noted is not None:
                self._noted(tx)
        if self._renewed_at is None or tx.now - self._renewed_at > self._times.row_stale:
            self._seen.clear()
        self._look(tx.connection, tx.now)
        self._renewing_at = tx.now

    def _look(self, connection: sa.Connection, now: float) -> None:
        """Note whose count has changed since it was seen first; a transaction done again sees the same."""
        found: dict[str, _Seen] = {}
        for row in connection.execute(_others, {"b_id": self._node}):
            seen = self._seen.get(row.id)
            same = seen is not None and seen.beats == row.beats
            found[row.id] = seen if seen is not None and same else _Seen(row.beats, now)
        self._seen = found

    def note(self, work: Callable[[Tx], None]) -> None:
        """Remember what was last written into the row."""
        self._noted = work

    def _beat(self, connection: sa.Connection) -> bool:
        self._beats += 1
        values = {"b_id": self._node, "b_beats": self._beats, "b_wall": time.time()}
        return connection.execute(_beat, values).rowcount > 0

    def renewal_committed(self) -> None:
        """Count from when the transaction began, not from its end."""
        if self._renewing_at is not None:
            self._renewed_at, self._renewing_at = self._renewing_at, None

    def may_start(self, now: float) -> bool:
        """Whether the row was renewed in the last `row_stale` seconds."""
        return self._renewed_at is not None and now - self._renewed_at < self._times.row_stale

    def dead_nodes(self, tx: Tx, owners: Collection[str]) -> set[str]:
        """Which nodes were silent for `row_silent` seconds, seen from here, and which owners have no row."""
        if self._node is None:
            return set()
        known = {row.id for row in tx.connection.execute(sa.select(_node.c.id))}
        before = tx.now - self._times.row_silent
        silent = {one: seen for one, seen in self._seen.items() if seen.since <= before}
        rows = tx.connection.execute(
            sa.select(_node.c.id, _node.c.beats)
            .where(_node.c.id.in_(list(silent)))
            .order_by(_node.c.id)
            .with_for_update(skip_locked=True)  # who renews it lives, who rescues from it does so
        )
        dead = {row.id for row in rows if row.beats == silent[row.id].beats}
        return dead | (set(owners) - known - {tx.node})

    def living(self, tx: Tx) -> set[str]:
        """Which nodes have renewed their row in the last `row_divides` seconds, before our eyes."""
        self._look(tx.connection, tx.now)
        since = tx.now - self._times.row_divides
        return {tx.node} | {one for one, seen in self._seen.items() if seen.since > since}

    def remove_files(self, nodes: Collection[str]) -> None:
        """Nothing is left of a node but its row."""

    def end(self) -> None:
        """The row goes with the last transaction."""


def living(connection: sa.Connection) -> set[str]:
    """Which nodes have renewed their row lately, by the server's clock."""
    rows = connection.execute(sa.select(_node.c.id).where(_node.c.beat_at > SERVER_TIME - TIMES.row_silent))
    return {row.id for row in rows}


def server_time(connection: sa.Connection) -> float:
    """The server's clock, in Unix seconds."""
    return connection.execute(sa.select(SERVER_TIME)).scalar_one()
