"""What `relay doctor` looks at in a journal of either engine, and what it finds."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from relay.errors import JournalError
from relay.journal.engine import View
from relay.journal.losses import open_losses
from relay.journal.reads.ledger import read_ledger
from relay.journal.tables import schema, versioning
from relay.journal.tables.rows import maybe_from_wire
from relay.journal.tables.schema import node

_AHEAD = 5.0
"""Seconds by which what is written may be ahead of a clock that is right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: whether it is well, what was seen, and what to do where it is not."""

    about: str
    ok: bool
    says: str
    do: str = ""


Probe = Callable[[sa.Connection], Iterator[Finding]]


def probed(view: View, about: str, probe: Probe) -> list[Finding]:
    """What one probe finds; where the journal cannot be read for it, that."""
    try:
        with view.reading() as connection:
            return list(probe(connection))
    except JournalError as error:
        return [Finding(about=about, ok=False, says=str(error))]


def version(connection: sa.Connection) -> Iterator[Finding]:
    """Which version the tables have, and whose the journal is."""
    facts = versioning.read_facts(connection)
    says = (
        f"journal {facts['id']}, tables of version {facts['version']} (this program writes {schema.VERSION});"
        f" programs from version {facts['oldest']} on may use it"
    )
    yield Finding(about="version", ok=True, says=says)
    try:
        versioning.refuse_moved("this journal", facts)
    except JournalError as error:
        yield Finding(about="version", ok=False, says=str(error))


def ledger(connection: sa.Connection) -> Iterator[Finding]:
    """Whether the books balance."""
    found = read_ledger(connection, now=None, destinations=None)
    pending = sum(line.pending for line in found.deliveries)
    if found.balanced:
        yield Finding(about="ledger", ok=True, says=f"balances; deliveries pending: {pending:,}")
    else:
        yield Finding(
            about="ledger",
            ok=False,
            says=f"is out by {found.imbalance:,}",
            do="see `relay ledger` for the lines; rows were changed by hand or lost, or Relay has a bug",
        )


def losses(connection: sa.Connection) -> Iterator[Finding]:
    """Whether acknowledged events are gone that no operator has accepted."""
    found = open_losses(connection)
    for one in found:
        since = "" if one.since is None else f", taken after {_moment(one.since)}"
        yield Finding(
            about="losses",
            ok=False,
            says=f"the database was put back to an earlier state, noticed {_moment(one.seen_at)}: at least"
            f" {one.events:,} events that were acknowledged are gone{since}",
            do="have the senders send them again, or take them from the copy that has them; then"
            f" `relay journal accept-loss {one.id}`",
        )
    if not found:
        yield Finding(about="losses", ok=True, says="no node misses an event that it acknowledged")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(" ", "seconds").replace("+00:00", "Z")


def clock(connection: sa.Connection, server: float | None) -> Iterator[Finding]:
    """Whether this machine's clock agrees with what was written, and with the database's own."""
    here = time.time()
    newest = connection.execute(sa.select(sa.func.max(schema.ledger.c.at))).scalar()
    ahead = 0.0 if newest is None else newest - (server or here)
    if ahead > _AHEAD:
        yield Finding(
            about="clock",
            ok=False,
            says=f"the journal's newest entry is {ahead:.0f} s in the future: a clock was set back",
            do="keep the clocks by NTP; what waits goes out late by as much",
        )
    elif server is not None and abs(server - here) > _AHEAD:
        yield Finding(
            about="clock",
            ok=False,
            says=f"the database's clock is {server - here:+.1f} s from this machine's",
            do="keep both by NTP: signatures and certificates go by this one, due times by the database's",
        )
    else:
        apart = "" if server is None else f"; the database's is {server - here:+.2f} s from it"
        yield Finding(about="clock", ok=True, says=f"this machine's agrees with what was written{apart}")


def nodes(connection: sa.Connection, alive: Collection[str]) -> Iterator[Finding]:
    """Who serves, and with which configuration."""
    rows = connection.execute(sa.select(node).order_by(node.c.started_at)).all()
    living = [row for row in rows if row.id in alive]
    for row in rows:
        where = f"{row.host}, process {row.pid}, relay {row.version}"
        problem = maybe_from_wire(row.config_error)
        if row.id not in alive:
            yield Finding(
                about="node", ok=True, says=f"{where}: is gone; who serves takes over what it was at"
            )
        elif problem:
            yield Finding(
                about="node",
                ok=False,
                says=f"{where}: serves, but its file has mistakes and was not taken",
                do="see `relay status`, mend the file, then `relay reload`",
            )
        else:
            yield Finding(about="node", ok=True, says=f"{where}: serves")
    if not living:
        yield Finding(about="node", ok=True, says="nobody serves this journal now")
    if len({row.config for row in living} - {None}) > 1:
        yield Finding(
            about="node",
            ok=False,
            says="the nodes have different configurations in force",
            do="give all of them the same file, then `relay reload`",
        )
