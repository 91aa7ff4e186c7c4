"""Reading the journal: for commands, status and metrics; short reads that hold nothing up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Self

import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal.engine import View
from relay.journal.losses import Loss, open_losses
from relay.journal.opening import open_view
from relay.journal.reads import delivery_rates, filters
from relay.journal.reads.destination_state import standing_of
from relay.journal.reads.ledger import read_ledger
from relay.journal.reads.status import read_nodes, read_status, view_lane
from relay.journal.tables.rows import maybe_from_wire, read_attempt, read_delivery, read_event, to_wire
from relay.journal.tables.schema import attempt, delivery, event
from relay.journal.tables.versioning import read_facts, refuse_moved
from relay.journal.values import Filter, LaneView, Ledger, NodeStatus, Pin, Status
from relay.journal.writes import order_changes
from relay.journal.writes.order_changes import Orders
from relay.journal.writes.retention import Early, count_early
from relay.model import Attempt, Delivery, Event, Standing

_EVERYTHING = Filter()


class Reader:
    """A read-only view, usable from any thread; it never creates or changes a journal."""

    def __init__(self, view: View) -> None:
        self._view = view

    @classmethod
    def open(cls, url: str) -> Reader:
        """Open a journal; raises JournalRefused where there is none, or none that may be used."""
        return cls(open_view(url))

    def find_event(self, any_id: str) -> list[str]:
        """The ids of the events that an id means: an event's, a delivery's, or a provider's own."""
        wanted = [sa.select(event.c.id, event.c.seq).where(event.c.provider_id == to_wire(any_id))]
        if not (any_id.isascii() and any_id.isprintable()):
            pass  # no id of ours, and some engines take no such text at all
        elif any_id.startswith("evt_"):
            wanted.append(sa.select(event.c.id, event.c.seq).where(event.c.id == any_id))
        elif any_id.startswith("dlv_"):
            owner = sa.select(delivery.c.event_id).where(delivery.c.id == any_id).scalar_subquery()
            wanted.append(sa.select(event.c.id, event.c.seq).where(event.c.id == owner))
        with self._view.reading() as connection:
            rows = [row for statement in wanted for row in connection.execute(statement)]
        return [row.id for row in sorted(set(rows), key=lambda row: row.seq)]

    def event(self, event_id: str) -> Event | None:
        """One event."""
        with self._view.reading() as connection:
            row = connection.execute(sa.select(event).where(event.c.id == event_id)).mappings().first()
        return None if row is None else read_event(row)

    def delivery(self, delivery_id: str) -> Delivery | None:
        """One delivery."""
        found = self._deliveries(delivery.c.id == delivery_id)
        return found[0] if found else None

    def deliveries_of(self, event_id: str) -> list[Delivery]:
        """An event's deliveries, in the order of their planning."""
        return self._deliveries(delivery.c.event_id == event_id)

    def _deliveries(self, which: sa.ColumnElement[bool]) -> list[Delivery]:
        statement = sa.select(delivery).where(which).order_by(delivery.c.seq)
        with self._view.reading() as connection:
            return [read_delivery(row) for row in connection.execute(statement).mappings()]

    def attempts_of(self, delivery_id: str) -> list[Attempt]:
        """A delivery's attempts, the first one first."""
        statement = sa.select(attempt).where(attempt.c.delivery_id == delivery_id).order_by(attempt.c.number)
        with self._view.reading() as connection:
            return [read_attempt(row) for row in connection.execute(statement).mappings()]

    def events(self, wanted: Filter = _EVERYTHING, limit: int = 50, before: str | None = None) -> list[Event]:
        """The latest events first; `before` an event's id goes on from there."""
        conditions = filters.event_conditions(wanted)
        if before is not None:
            last = sa.select(event.c.seq).where(event.c.id == before).scalar_subquery()
            conditions.append(event.c.seq < last)
        statement = sa.select(event).where(*conditions).order_by(event.c.seq.desc()).limit(limit)
        with self._view.reading() as connection:
            return [read_event(row) for row in connection.execute(statement).mappings()]

    def deliveries(
        self, wanted: Filter = _EVERYTHING, limit: int = 50, before: str | None = None
    ) -> list[Delivery]:
        """The latest deliveries first; `before` a delivery's id goes on from there."""
        conditions = filters.delivery_conditions(wanted)
        if before is not None:
            last = sa.select(delivery.c.seq).where(delivery.c.id == before).scalar_subquery()
            conditions.append(delivery.c.seq < last)
        statement = sa.select(delivery).where(*conditions).order_by(delivery.c.seq.desc()).limit(limit)
        with self._view.reading() as connection:
            return [read_delivery(row) for row in connection.execute(statement).mappings()]

    def group_by_error(self, wanted: Filter = _EVERYTHING) -> list[tuple[str, str, int]]:
        """Destination, error and number of the deliveries that have one, the most frequent first."""
        number = sa.func.count().label("number")
        statement = (
            sa.select(delivery.c.destination, delivery.c.error, delivery.c.outcome, delivery.c.status, number)
            .where(
                *filters.delivery_conditions(wanted),
                delivery.c.outcome.is_not(None),
                delivery.c.outcome != "delivered",
            )
            .group_by(delivery.c.destination, delivery.c.error, delivery.c.outcome, delivery.c.status)
            .order_by(number.desc(), delivery.c.destination)
        )
        with self._view.reading() as connection:
            rows = connection.execute(statement).all()
        return [
            (row.destination, _error_text(row.error, row.outcome, row.status), row.number) for row in rows
        ]

    def lane_of(self, one: Delivery) -> LaneView | None:
        """Where a delivery stands in its lane; None where it stands in none, or not any more."""
        with self._view.reading() as connection:
            return view_lane(connection, one)

    def standing(self, name: str) -> Standing:
        """What keeps a destination back."""
        with self._view.reading() as connection:
            return standing_of(connection, name)

    def orders(self) -> Orders | None:
        """The orders that nodes go by; None where none has written them yet."""
        with self._view.reading() as connection:
            return order_changes.read_orders(connection)

    def order_changes(self) -> Mapping[str, frozenset[str]]:
        """By destination, the routes whose new deliveries wait since their order changed."""
        with self._view.reading() as connection:
            return order_changes.read_changes(connection)

    def status(self) -> Status:
        """The journal at a glance."""
        with self._view.reading() as connection:
            size = self._view.bytes(connection)
            return read_status(connection, alive=self._view.alive(connection), size=size)

    def now(self) -> float:
        """The time that the journal goes by, and all due times with it; no wall clock."""
        with self._view.reading() as connection:
            return self._view.now(connection)

    def nodes(self) -> tuple[NodeStatus, ...]:
        """The processes that serve, or died serving; cheap enough to be asked again and again."""
        with self._view.reading() as connection:
            return read_nodes(connection, self._view.alive(connection))

    def delivered_per_second(self, now: float) -> Mapping[str, float]:
        """How many deliveries each destination took a second lately; those that took none are left out."""
        with self._view.reading() as connection:
            return delivery_rates.delivered_per_second(connection, now)

    def in_flight(self) -> Mapping[str, int]:
        """How many attempts at each destination are under way; those with none are left out."""
        with self._view.reading() as connection:
            return delivery_rates.in_flight(connection)

    def count_early(self, early: Early) -> int:
        """How many events a purge would remove now."""
        with self._view.reading() as connection:
            return count_early(connection, early)

    def ledger(self, *, now: float | None = None, destinations: Collection[str] | None = None) -> Ledger:
        """The conservation table, in one snapshot.

        With `now`, what waits is told by whether it is due; with `destinations`, those of the
        configuration in force, what waits for one that is gone is told too.
        """
        with self._view.reading() as connection:
            return read_ledger(connection, now=now, destinations=destinations)

    def losses(self) -> tuple[Loss, ...]:
        """What a database that was put back has lost, and no operator has accepted."""
        with self._view.reading() as connection:
            return open_losses(connection)

    def pinned(self) -> Pin | None:
        """Who keeps back what the journal would have removed; takes seconds where an SQLite log is large."""
        return self._view.pinned()

    def refusal(self) -> str | None:
        """Why the journal takes no event now, with the way out; None where it does, as far as is seen here.

        Takes a second where somebody holds a lock.
        """
        with self._view.reading() as connection:
            facts = read_facts(connection)
        try:
            refuse_moved("this journal", facts)
        except JournalRefused as error:
            return str(error)
        return self._view.refusal()

    def close(self) -> None:
        """Let go of it."""
        self._view.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _error_text(error: bytes | None, outcome: str, status: int | None) -> str:
    return maybe_from_wire(error) or (outcome if status is None else f"HTTP {status}")
