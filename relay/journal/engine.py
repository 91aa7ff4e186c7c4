"""What the journal asks of a database: an engine to write with, and a view to read with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa

from relay.journal.faults import Fault
from relay.journal.values import Pin
from relay.journal.writes.rescue import Lease
from relay.lease_times import Times

T = TypeVar("T")


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

    def lease(self, node: str | None, times: Times) -> Lease:
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


def error_text(error: Exception) -> str:
    """What the driver reported, on one line, without the statement and its values: these are the senders'.

    PostgreSQL's DETAIL shows the row that was refused, so only the first line of its report is taken.
    """
    found = getattr(error, "orig", None) or error
    primary = getattr(getattr(found, "diag", None), "message_primary", None)
    return " ".join(str(primary or found).split())
