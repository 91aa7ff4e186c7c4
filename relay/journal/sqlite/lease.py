"""The lives of processes that share an SQLite file: each holds a file locked as long as it lives."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection
from pathlib import Path

import sqlalchemy as sa

from relay.journal.sqlite import file_in_use
from relay.journal.sqlite.locks import NodeFile, beside, is_alive
from relay.journal.tables.schema import node as _node
from relay.journal.writes import nodes
from relay.journal.writes.tx import Tx
from relay.lease_times import Times
from relay.process.clock import uptime


class FileLease:
    """A node's file, locked from now to its end; nothing of it is renewed, the kernel knows.

    But the file may be deleted or moved by somebody: then it is made again, and the node's row where
    others have taken the node for dead meanwhile.
    """

    slot = 0

    def __init__(self, path: Path, node: str | None, times: Times) -> None:
        self._times = times
        self._path = path
        self._node = node
        self._file = None if node is None else NodeFile(life_path(path, node))
        self._began_at = self._clock = 0.0
        self._noted: Callable[[Tx], None] | None = None
        self._looked_at = time.monotonic()
        self._lost = False
        self._absent: dict[str, float] = {}

    def register(self, connection: sa.Connection, now: float) -> None:
        """Make the row of a process that begins to serve."""
        self._began_at, self._clock = now, now - uptime()
        if self._node is not None:
            nodes.register(connection, node=self._node, now=now, clock=self._clock)
            # A command that ended just now found nobody, and took the file for whole.
            file_in_use.note(connection, self._path)

    def is_due(self, now: float) -> bool:  # noqa: ARG002 - see Lease
        """Whether the file is at its path no more; looks once a second."""
        if self._file is not None and time.monotonic() - self._looked_at >= self._times.tick:
            self._looked_at = time.monotonic()
            self._lost = self._lost or self._file.is_lost()
        return self._lost

    def renew(self, tx: Tx) -> None:
        """Make the file again, and the row; the next second tries it again where the file cannot be made."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            if self._file.is_lost():
                self._file.renew()
        has_row = sa.select(sa.literal(1)).where(_node.c.id == tx.node)
        if not tx.connection.execute(has_row).first():
            nodes.register(tx.connection, node=tx.node, now=self._began_at, clock=self._clock)
            if self._noted is not None:
                self._noted(tx)

    def note(self, work: Callable[[Tx], None]) -> None:
        """Remember what was last written into the row."""
        self._noted = work

    def renewal_committed(self) -> None:
        """What was lost is there again, if it could be made."""
        self._lost = self._lost and self._file is not None and self._file.is_lost()

    def may_start(self, now: float) -> bool:  # noqa: ARG002 - see Lease
        """Always but while the file cannot be made: others may take what this node holds."""
        return not self._lost

    def dead_nodes(self, tx: Tx, owners: Collection[str]) -> set[str]:
        """Which of the nodes that have a row, and of these owners, hold no file."""
        known = {row.id for row in tx.connection.execute(sa.select(_node.c.id))}
        others = (known | set(owners)) - {tx.node}
        return {other for other in others if not self._lives(other, known)}

    def living(self, tx: Tx) -> set[str]:
        """Which nodes hold their file."""
        known = {row.id for row in tx.connection.execute(sa.select(_node.c.id))}
        return {tx.node} | {other for other in known if self._lives(other, known)}

    def _lives(self, other: str, known: Collection[str]) -> bool:
        """Whether a node holds its file; one with a row may be about to make it again."""
        found = is_alive(life_path(self._path, other))
        if found is not None:
            self._absent.pop(other, None)
            return found
        since = self._absent.setdefault(other, time.monotonic())
        return other in known and time.monotonic() - since < self._times.file_absent

    def remove_files(self, nodes: Collection[str]) -> None:
        """Remove the files of dead nodes."""
        for one in nodes:
            self._absent.pop(one, None)
            life_path(self._path, one).unlink(missing_ok=True)

    def end(self) -> None:
        """Let go of the file, and remove it."""
        if self._file is not None:
            self._file.end()


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
