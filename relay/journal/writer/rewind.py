"""What a node knows to be committed: a database that was put back to an earlier state does not have it.

A node counts the events of its slot of the ledger as it commits them, and now and then reads how far others
are. The ledger's `accepted` is never lowered and never purged; so where a new connection finds less,
acknowledged events are gone. Nothing is acknowledged on a connection before that comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import sqlalchemy as sa

from relay.journal import losses
from relay.journal.engine import Engine
from relay.journal.faults import tell
from relay.journal.hooks import Hooks
from relay.journal.losses import Loss
from relay.journal.tables.facts import put_fact, read_fact
from relay.journal.tables.schema import ledger
from relay.journal.writes import nodes
from relay.journal.writes.tx import Sums, Tx

LOOK_EVERY = 2.0
"""Seconds of another node's events that nobody misses where that node is gone too."""

MOST_SLOTS = 16
"""Slots of others that one look reads: where more nodes live, they are read in turns."""

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
"""All slots, by reading the whole ledger."""

_sources = sa.select(sa.func.min(ledger.c.source).label("source")).cte("sources", recursive=True)
_next = sa.select(sa.func.min(ledger.c.source)).where(ledger.c.source > _sources.c.source)
_sources = _sources.union_all(
    sa.select(_next.correlate(_sources).scalar_subquery()).where(_sources.c.source.is_not(None))
)
_accepted_of_some = _accepted.join_from(
    _sources, ledger, sa.and_(ledger.c.source == _sources.c.source, ledger.c.destination == "")
).where(ledger.c.slot.in_(sa.bindparam("b_slots", expanding=True)))
"""Some slots, by one step in the index of the ledger for each source, and one for each source and slot."""


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
    """What one look found, to be believed once its transaction is committed.

    accepted  how many events the slots have that were read
    others    the slots of other nodes that live, those first that were not read for longest; and of nodes
              that have ended and were not read since
    """

    connection: int
    slot: int
    server: str | None
    accepted: Mapping[int, int]
    others: tuple[int, ...]
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
        self._others: tuple[int, ...] = ()
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
        taken = nodes.taken_slots(tx.connection)
        living = taken - {tx.slot}
        others = (*self._others, *sorted(living - set(self._others)))
        if is_new:
            rows = tx.connection.execute(_accepted).all()
        else:
            now, others = others[:MOST_SLOTS], others[MOST_SLOTS:]
            came_and_went = nodes.first_free(taken)  # if a node did since the last look, it had this one
            rows = tx.connection.execute(_accepted_of_some, {"b_slots": (came_and_went, *now)}).all()
            others = (*others, *(slot for slot in now if slot in living))
        found = {row.slot: int(row.number) for row in rows}
        less = self._less(found) if is_new else {}
        loss = self._note(tx, less, {row.slot: row.last_at for row in rows})
        rewound = None if loss is None else Rewound(loss=loss, is_known=True)
        server = self._server
        if is_new:
            server, is_another = self._compare_server(tx)
            if is_another and not less:
                rewound = Rewound(loss=None, is_known=self._accepted is not None)
        return _Look(
            connection=connection,
            slot=tx.slot,
            server=server,
            accepted=found if is_new else {**(self._accepted or {}), **found},
            others=others,
            at=tx.now,
            rewound=rewound,
        )

    def _less(self, found: Mapping[int, int]) -> Mapping[int, int]:
        """How many events each slot lacks of those that this node knows of."""
        known = self._accepted or {}
        return {
            slot: number - found.get(slot, 0) for slot, number in known.items() if number > found.get(slot, 0)
        }

    def _note(self, tx: Tx, less: Mapping[int, int], last_at: Mapping[int, float]) -> Loss | None:
        """The loss of which this is a part, whoever noted it first; None where all is accepted, or there."""
        if not less:
            return None
        return losses.note(tx.connection, less, last_at=last_at, known_at=self._at, now=tx.now)

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
            self._accepted, self._others, self._at = dict(look.accepted), look.others, look.at
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
