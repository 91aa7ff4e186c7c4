"""What the journal asks of a database: an engine to write with, a view to read with, a lease on life."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa

from relay.journal.faults import Fault
from relay.journal.tx import Tx
from relay.journal.values import Pin

T = TypeVar("T")


class Lease(Protocol):
    """How a process shows that it lives, and learns which others do not; for the writer's thread."""

    @property
    def slot(self) -> int:
        """Which rows of the ledger are this process's own."""

    def register(self, connection: sa.Connection, now: float) -> None:
        """Make the row of a process that begins to serve."""

    def is_due(self, now: float) -> bool:
        """Whether it is to be renewed with the next transaction."""

    def renew(self, tx: Tx) -> None:
        """Renew it in this transaction, before anything else in it."""

    def note(self, work: Callable[[Tx], None]) -> None:
        """What was last written into the row, to be done again where it must be made again."""

    def kept(self) -> None:
        """The transaction that made or renewed it is committed."""

    def may_start(self, now: float) -> bool:
        """Whether it is fresh enough to begin an attempt; called from any thread."""

    def gone(self, tx: Tx, owners: Collection[str]) -> set[str]:
        """Which of the nodes that have a row, and of these owners, live no more; their rows are locked."""

    def living(self, tx: Tx) -> set[str]:
        """Which nodes live, this one among them: those that may still begin attempts."""

    def bury(self, nodes: Collection[str]) -> None:
        """Remove what dead nodes left beside the tables."""

    def end(self) -> None:
        """End it in good order."""


class Engine(Protocol):
    """One writer's connection to a journal; all but `lease` in the writer's thread."""

    @property
    def dialect(self) -> sa.Dialect:
        """What statements are compiled for."""

    @property
    def folder(self) -> Path | None:
        """Where on this machine room is needed, if anywhere."""

    @property
    def locks(self) -> Sequence[Path]:
        """The files on this machine by which processes that write take turns, if there are any."""

    def now(self, connection: sa.Connection) -> float | None:
        """The time that the journal goes by, in Unix seconds; None where that is for this process to say."""

    @property
    def connections(self) -> int:
        """How many connections were made so far: another number is another connection."""

    def server_of(self, connection: sa.Connection) -> str | None:
        """Which server answers, and on which timeline of its history; None for a file, or who may not ask."""

    def write(self, work: Callable[[sa.Connection], T]) -> T:
        """Do the work in one transaction, committed and on disk when this returns; it may be done again."""

    def wrote(self, size: int) -> None:
        """So many bytes were committed: do what is due after that."""

    def mark(self, *, now: bool = False) -> None:
        """Note beside the journal how far it goes, where that is of use."""

    def fault_of(self, error: Exception) -> Fault:
        """Whose fault an error is."""

    def no_room(self) -> str | None:
        """Why no event may be taken now, if so."""

    def size(self, connection: sa.Connection) -> int:
        """Bytes in use; less after a purge."""

    def lease(self, node: str | None) -> Lease:
        """The life of a node from now on; without a node, one that neither lives nor sees."""

    def discard(self) -> None:
        """Throw the connection away after a fault; the next transaction makes another."""

    def close(self) -> None:
        """Let go in good order."""

    def abandon(self) -> None:
        """Let go at once: what was found stays as it was."""


class View(Protocol):
    """A journal to read, from any thread."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """One snapshot; JournalUnreadable where it cannot be read."""

    def alive(self, connection: sa.Connection) -> set[str]:
        """Which nodes live."""

    def now(self, connection: sa.Connection) -> float:
        """The time that the journal goes by, in Unix seconds."""

    def bytes(self, connection: sa.Connection) -> int:
        """How much room the journal takes."""

    def pinned(self) -> Pin | None:
        """Who, if anybody, keeps back what the journal would have removed."""

    def refusal(self) -> str | None:
        """Why the journal takes no event now, as far as that is seen from here; None where it does."""

    def close(self) -> None:
        """Let go."""


def words_of(error: Exception) -> str:
    """What the driver said, on one line, without the statement and its values: these are the senders'."""
    return " ".join(str(getattr(error, "orig", None) or error).split())
