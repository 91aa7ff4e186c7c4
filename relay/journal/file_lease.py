"""The lives of processes that share an SQLite file: each holds a file locked as long as it lives."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import sqlalchemy as sa

from relay.clock import uptime
from relay.journal import nodes
from relay.journal.files import Life, beside, is_alive
from relay.journal.schema import node as _node
from relay.journal.tx import Tx


class FileLease:
    """A node's file, locked from now to its end; nothing of it is renewed, the kernel knows."""

    slot = 0

    def __init__(self, path: Path, node: str | None) -> None:
        self._path = path
        self._node = node
        self._life = None if node is None else Life(life_path(path, node))

    def register(self, connection: sa.Connection, now: float) -> None:
        """Make the row of a process that begins to serve."""
        if self._node is not None:
            nodes.register(connection, node=self._node, now=now, clock=now - uptime())

    def is_due(self, now: float) -> bool:  # noqa: ARG002 - see Lease
        """Never."""
        return False

    def renew(self, tx: Tx) -> None:
        """Nothing is to be renewed."""

    def note(self, work: Callable[[Tx], None]) -> None:
        """Nobody takes the row of one who lives."""

    def kept(self) -> None:
        """Nothing is to be noted."""

    def may_start(self, now: float) -> bool:  # noqa: ARG002 - see Lease
        """Always."""
        return True

    def gone(self, tx: Tx, owners: Collection[str]) -> set[str]:
        """Which of the nodes that have a row, and of these owners, hold no file."""
        known = {row.id for row in tx.connection.execute(sa.select(_node.c.id))}
        others = (known | set(owners)) - {tx.node}
        return {other for other in others if not is_alive(life_path(self._path, other))}

    def living(self, tx: Tx) -> set[str]:
        """Which nodes hold their file."""
        return living(tx.connection, self._path) | {tx.node}

    def bury(self, nodes: Collection[str]) -> None:
        """Remove the files of dead nodes."""
        for one in nodes:
            life_path(self._path, one).unlink(missing_ok=True)

    def end(self) -> None:
        """Let go of the file, and remove it."""
        if self._life is not None:
            self._life.end()


def living(connection: sa.Connection, path: Path) -> set[str]:
    """Which of the nodes that have a row hold their file."""
    rows = connection.execute(sa.select(_node.c.id))
    return {row.id for row in rows if is_alive(life_path(path, row.id))}


def time_of(connection: sa.Connection, path: Path) -> float | None:
    """The time that the processes which live on this file go by, on the machine that all of them share.

    None where none lives, or none says so: then this machine's own is as good as any.
    """
    rows = connection.execute(sa.select(_node.c.id, _node.c.clock).where(_node.c.clock.is_not(None)))
    clocks = {row.id: row.clock for row in rows if is_alive(life_path(path, row.id))}
    return clocks[min(clocks)] + uptime() if clocks else None


def life_path(path: Path, node: str) -> Path:
    """The file that shows whether a node lives."""
    return beside(path, f".node-{node}")
