"""What a database that was put back to an earlier state has lost; kept in it until an operator accepts it."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import sqlalchemy as sa

from relay.journal.tables.facts import put_fact
from relay.journal.tables.schema import meta

_PREFIX = "loss "


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One time that the database was put back; times in Unix seconds.

    slots        how many acknowledged events each slot of the ledger lacks, as far as nodes know that live
    since        when the last event was taken that is still there
    seen_at      when this was noticed first
    accepted_at  when an operator accepted it
    """

    id: str
    slots: Mapping[int, int]
    since: float | None
    seen_at: float
    accepted_at: float | None = None

    @property
    def events(self) -> int:
        """How many acknowledged events are gone, at least."""
        return sum(self.slots.values())

    @classmethod
    def read(cls, key: str, value: str) -> Self:
        """A loss as a row of `meta` has it."""
        facts = json.loads(value)
        slots = {int(slot): int(number) for slot, number in facts.pop("slots").items()}
        return cls(id=key.removeprefix(_PREFIX), slots=slots, **facts)

    @property
    def key(self) -> str:
        """Under which key the journal has it."""
        return _PREFIX + self.id

    @property
    def value(self) -> str:
        """What the journal has of it."""
        return json.dumps(
            {
                "slots": self.slots,
                "since": self.since,
                "seen_at": self.seen_at,
                "accepted_at": self.accepted_at,
            }
        )


def read_losses(connection: sa.Connection) -> list[Loss]:
    """All of them, the latest first."""
    rows = connection.execute(sa.select(meta).where(meta.c.key.startswith(_PREFIX, autoescape=True)))
    return sorted((Loss.read(row.key, row.value) for row in rows), key=lambda one: -one.seen_at)


def open_losses(connection: sa.Connection) -> tuple[Loss, ...]:
    """Those that no operator has accepted."""
    return tuple(one for one in read_losses(connection) if one.accepted_at is None)


def note(
    connection: sa.Connection,
    missing: Mapping[int, int],
    *,
    last_at: Mapping[int, float],
    known_at: float,
    now: float,
) -> Loss | None:
    """Note what a node misses of each slot; the loss that it belongs to, None where all of it is accepted.

    The node knew the database last at `known_at`. What others have noticed since then is the same: each of
    them knows its own slot exactly, and of another's what it saw of it last.
    """
    lock(connection)
    same = [one for one in read_losses(connection) if one.seen_at >= known_at]
    accepted = Counter[int]()
    for one in same:
        accepted.update(one.slots if one.accepted_at is not None else {})
    missing = {slot: number - accepted[slot] for slot, number in missing.items() if number > accepted[slot]}
    noted = next((one for one in same if one.accepted_at is None), None)
    before: Mapping[int, int] = {} if noted is None else noted.slots
    together = {slot: max(before.get(slot, 0), missing.get(slot, 0)) for slot in {*before, *missing}}
    if together == before:
        return noted
    since = max((last_at[slot] for slot in missing if slot in last_at), default=None)
    if noted is None:
        loss = Loss(id=uuid.uuid4().hex[:8], slots=together, since=since, seen_at=now)
        put_fact(connection, loss.key, loss.value)
        return loss
    times = [at for at in (noted.since, since) if at is not None]
    loss = replace(noted, slots=together, since=min(times, default=None))
    put_fact(connection, loss.key, loss.value)
    return loss


def accept(connection: sa.Connection, loss_id: str, *, now: float) -> Loss | None:
    """Accept a loss; None where there is none of this id that waits for that."""
    lock(connection)
    found = next((one for one in open_losses(connection) if one.id == loss_id), None)
    if found is not None:
        put_fact(connection, found.key, replace(found, accepted_at=now).value)
    return found


def lock(connection: sa.Connection) -> None:
    """Let the nodes note what they miss one after another."""
    connection.execute(sa.select(meta.c.value).where(meta.c.key == "id").with_for_update())
