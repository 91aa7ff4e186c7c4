"""What a node knows to be committed: a database that was put back to an earlier state does not have it.

A node counts the events of its slot of the ledger as it commits them, and sees those of the other slots with
each look. The ledger's `accepted` is never lowered and never purged; so where a new connection finds less,
acknowledged events are gone. Nothing is acknowledged on a connection before that look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from relay.journal import losses
from relay.journal.engine import Engine
from relay.journal.facts import put_fact, read_fact
from relay.journal.faults import tell
from relay.journal.hooks import Hooks
from relay.journal.losses import Loss
from relay.journal.schema import ledger
from relay.journal.tx import Sums, Tx

LOOK_EVERY = 2.0
"""Seconds of another node's events that nobody misses where that node is gone too."""

_SERVER = "server"
"""The fact of which server, and on which timeline, the journal was last served from."""

_ACCEPTED = "accepted"
_accepted = (
    sa.select(
        ledger.c.slot, sa.func.sum(ledger.c.value).label("number"), sa.func.max(ledger.c.at).label("last_at")
    )
    .where(ledger.c.counter == _ACCEPTED)
    .group_by(ledger.c.slot)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewound:
    """The database is not the one that this node knew.

    loss     what is missing; None where nothing is that this node knows of
    is_known whether this node knew the database before: else nobody can say what is missing
    """

    loss: Loss | None
    is_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What one look found, to be believed once its transaction is committed."""

    connection: int
    slot: int
    server: str | None
    accepted: Mapping[int, int]
    at: float
    rewound: Rewound | None


class Witness:
    """One per writer, for its thread. A command (`serves` is False) knows nothing, and misses nothing."""

    def __init__(self, engine: Engine, *, hooks: Hooks | None, serves: bool) -> None:
        self._engine = engine
        self._hooks = hooks
        self._serves = serves
        self._connection = 0
        self._server: str | None = None
        self._slot = 0
        self._accepted: dict[int, int] | None = None
        self._at = 0.0
        self._look: _Look | None = None

    def begin(self, tx: Tx) -> None:
        """Compare what is there with what this node knows, before a transaction does anything else.

        On a new connection, which is told by how many were made; and now and then, to see how far the others
        are that count in the same database.
        """
        self._look = None
        is_new = self._engine.connections != self._connection
        is_due = self._server is not None and tx.now - self._at >= LOOK_EVERY
        if self._serves and (is_new or is_due):
            self._look = self._compare(tx, self._engine.connections, is_new=is_new)

    def _compare(self, tx: Tx, connection: int, *, is_new: bool) -> _Look:
        rows = tx.connection.execute(_accepted).all()
        found = {row.slot: int(row.number) for row in rows}
        rewound = self._missing(tx, found, {row.slot: row.last_at for row in rows})
        server = self._server
        if is_new:
            server, is_another = self._compare_server(tx)
            if is_another and rewound is None:
                rewound = Rewound(loss=None, is_known=self._accepted is not None)
        return _Look(
            connection=connection,
            slot=tx.slot,
            server=server,
            accepted=found,
            at=tx.now,
            rewound=rewound,
        )

    def _missing(self, tx: Tx, found: Mapping[int, int], last_at: Mapping[int, float]) -> Rewound | None:
        known = self._accepted or {}
        less = {
            slot: number - found.get(slot, 0) for slot, number in known.items() if number > found.get(slot, 0)
        }
        if not less:
            return None
        loss = losses.note(tx.connection, less, last_at=last_at, known_at=self._at, now=tx.now)
        return None if loss is None else Rewound(loss=loss, is_known=True)

    def _compare_server(self, tx: Tx) -> tuple[str | None, bool]:
        """Which server this is, and whether it was another before; a journal that knows none learns it."""
        server = self._engine.server_of(tx.connection)
        if server is None:
            return self._server, False
        noted = read_fact(tx.connection, _SERVER)
        if noted != server:
            losses.lock(tx.connection)
            put_fact(tx.connection, _SERVER, server)
        before = noted if self._accepted is None else self._server
        return server, before is not None and before != server

    def committed(self, sums: Sums) -> None:
        """The transaction is committed: believe its look, say what that misses, and count its events."""
        look, self._look = self._look, None
        if look is not None:
            self._connection, self._server, self._slot = look.connection, look.server, look.slot
            self._accepted, self._at = dict(look.accepted), look.at
        if self._accepted is not None:
            number = sum(value for key, value in sums.ledger.items() if key[2] == _ACCEPTED)
            if number:
                self._accepted[self._slot] = self._accepted.get(self._slot, 0) + number
        if look is not None and look.rewound is not None and self._hooks is not None:
            loss, is_known = look.rewound.loss, look.rewound.is_known
            if loss is None:
                tell(partial(self._hooks.rewound, loss=None, events=0 if is_known else None, since=None))
            else:
                tell(partial(self._hooks.rewound, loss=loss.id, events=loss.events, since=loss.since))
