"""A journal given up for its copy: who is which, and how far the copy has come, stand in both of them.

The old one says that it was moved, from the first moment on. The new one says that it is no journal yet,
until all of the old one is in it; then it says of which copy it came.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal.postgres import lease as row_lease
from relay.journal.sqlite.engine import SqliteEngine
from relay.journal.sqlite.lease import living
from relay.journal.tables import schema, versioning
from relay.journal.tables.facts import put_fact, remove_fact
from relay.journal.values import Ledger
from relay.journal.writes import order_changes

COPIED = "copied"
"""The fact of a journal that came by a copy: which."""

_OF_THE_JOURNAL = ("id", "reload", "probed_at")
"""What goes with the journal from engine to engine; its versions are the tables' own."""

_NOT_COPIED = frozenset({"meta", "node"})
"""What is of the engine and of the processes on it; what a node that is gone owns, others take over."""

Told = Callable[[str, int, int], None]
"""Called after each batch: the table, how many of its rows are there, how many there will be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What a copy came to.

    rows     of each table, in the old journal and in the new one
    skipped  dedup keys that came before as the hash of a longer one
    before   the ledger of the old journal
    after    and of the new one
    """

    rows: dict[str, tuple[int, int]]
    skipped: int
    before: Ledger
    after: Ledger

    @property
    def same(self) -> bool:
        """Whether all rows are there, and the books of both say the same."""
        missing = sum(before - after for before, after in self.rows.values())
        books = (self.before.events, self.before.deliveries) == (self.after.events, self.after.deliveries)
        return books and missing == self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """How far a copy has come: all tables before this one, and of it all rows up to this key."""

    table: str
    after: tuple[Any, ...] | None
    skipped: int = 0


def given_up(facts: dict[str, str], target: str) -> str | None:
    """By which copy the old journal was given up, if by any; refused where that goes elsewhere."""
    if versioning.MOVED not in facts:
        return None
    moved = json.loads(facts[versioning.MOVED])
    if moved["to"] != target:
        raise JournalRefused(
            f"this journal was moved, or is being moved, to {moved['to']}: go on there, or take it back"
            " with `relay journal copy FROM --undo` first"
        )
    return str(moved["copy"])


def give_up(path: Path, target: str, copy: str) -> None:
    """Write into the old journal where it goes; refused while a node lives on it."""
    engine = SqliteEngine(path)
    try:
        engine.write(partial(_give_up, path=path, target=target, copy=copy))
    finally:
        engine.close()


def _give_up(connection: sa.Connection, path: Path, target: str, copy: str) -> None:
    refuse_served(connection, path)
    put_fact(connection, versioning.MOVED, json.dumps({"to": target, "copy": copy}))


def refuse_served(connection: sa.Connection, path: Path) -> None:
    """Raise JournalRefused, naming the nodes, while any lives on the old journal."""
    alive = living(connection, path)
    rows = connection.execute(sa.select(schema.node.c.id, schema.node.c.host, schema.node.c.pid))
    names = [f"{row.host} (process {row.pid})" for row in rows if row.id in alive]
    if names:
        raise JournalRefused(
            f"{path} is being served by {', '.join(names)}: a journal is moved offline, so stop that first"
        )


def accept(connection: sa.Connection, *, name: str, copy: str, facts: dict[str, str]) -> Place | None:
    """Make the new journal the copy's, unless it is; how far the copy has come, None at its beginning.

    `facts` are those of the old one. Refused where there is anything in it, or a node lives on it.
    """
    there = versioning.read_facts(connection)
    if versioning.COPYING in there:
        begun = json.loads(there[versioning.COPYING])
        if begun["copy"] == copy:
            return _place(begun)
    full = [
        table.name
        for table in copied_tables()
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
    ]
    if full:
        raise JournalRefused(
            f"{name} holds something already, in the tables {', '.join(full)}: a journal is copied into a"
            " database that has none"
        )
    if row_lease.living(connection):
        raise JournalRefused(f"{name} is being served: stop that first")
    put_fact(connection, versioning.COPYING, json.dumps({"copy": copy}))
    for key in _OF_THE_JOURNAL:
        put_fact(connection, key, facts.get(key, "0"))
    for key in order_changes.FACTS:
        if key in facts:
            put_fact(connection, key, facts[key])
    return None


def note(connection: sa.Connection, copy: str, place: Place) -> None:
    """Write down how far the copy has come."""
    after = None if place.after is None else [_written(one) for one in place.after]
    value = {"copy": copy, "table": place.table, "after": after, "skipped": place.skipped}
    put_fact(connection, versioning.COPYING, json.dumps(value))


def finish(connection: sa.Connection, copy: str) -> None:
    """Make the new journal one to serve."""
    remove_fact(connection, versioning.COPYING)
    put_fact(connection, COPIED, copy)


def copied_tables() -> list[sa.Table]:
    """The tables whose rows are copied, in the order in which they are."""
    return [table for table in schema.metadata.sorted_tables if table.name not in _NOT_COPIED]


def new_copy() -> str:
    """What tells one copy from another."""
    return uuid.uuid4().hex


def _place(begun: dict[str, Any]) -> Place | None:
    if "table" not in begun:
        return None
    after = begun["after"]
    return Place(
        table=begun["table"],
        after=None if after is None else tuple(_read(one) for one in after),
        skipped=begun["skipped"],
    )


def _written(value: object) -> object:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


def _read(value: Any) -> object:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value
