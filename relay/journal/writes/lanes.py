"""Lanes: deliveries of one destination and one key that go out one after another.

A delivery gets its place when it enters. Only the head of a lane has a due time. When the head ends,
the lowest pending place is the head, in the same transaction; a lane in which nothing is left loses
its row. A head that dies and holds keeps its lane until it is retried or cancelled. Places of a lane
that was empty begin anew, so the place of a dead delivery may be that of another one's turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from relay.journal.tables.rows import to_wire
from relay.journal.tables.schema import delivery, lane
from relay.journal.writes.advisory_locks import number_of
from relay.journal.writes.tx import Tx
from relay.model import Delivery, DeliveryState

LaneKey = tuple[str, bytes]
"""The destination and the bytes of the key."""

holds_its_lane: sa.ColumnElement[bool] = (
    sa.exists()
    .where(
        lane.c.destination == delivery.c.destination,
        lane.c.key == delivery.c.lane,
        lane.c.held_by == delivery.c.id,
    )
    .correlate(delivery)
)
"""Whether a delivery is the dead head for which its lane waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """A delivery that is no longer pending, or no longer dead.

    holder    its id where it died and holds its lane
    was_dead  its id where it was dead before: it leaves its lane only where it held that
    """

    lane: LaneKey
    place: int
    holder: str | None = None
    was_dead: str | None = None

    @classmethod
    def of(cls, ended: Delivery, *, dead: bool = False, was_dead: bool = False) -> Gone | None:
        """None for a delivery that stands in no lane."""
        if ended.lane is None or ended.place is None:
            return None
        return cls(
            lane=(ended.destination, to_wire(ended.lane)),
            place=ended.place,
            holder=ended.id if dead and ended.hold else None,
            was_dead=ended.id if was_dead else None,
        )


def reserve(tx: Tx, deliveries: Iterable[Delivery]) -> None:
    """Lock the lanes that a batch is about to touch, in one order, where other nodes may touch them too.

    It enters some and leaves others, and so does the next node's: their rows alone would be locked in
    the order of the jobs. A lane may have no row yet, so what is locked is a number of its name's.
    """
    if tx.statements.reserve_lane is not None:
        names = {_number_of(one.destination, one.lane) for one in deliveries if one.lane is not None}
        if names:
            tx.statements.reserve_lane.run(tx.connection, [(name,) for name in sorted(names)])


def _number_of(destination: str, lane: str) -> int:
    name = to_wire(destination) + b"\0" + to_wire(lane)
    return number_of(name)


def enter(tx: Tx, planned: Sequence[Delivery]) -> list[Delivery]:
    """Give places to those that stand in lanes; the first of an empty lane is due, none is owned."""
    if all(one.lane is None for one in planned):
        return list(planned)
    sizes = Counter(key for one in planned if (key := _key_of(one)) is not None)
    # In one order, so that two nodes cannot wait for each other.
    places = {key: _take_places(tx, key, sizes[key]) for key in sorted(sizes)}
    entered = []
    for one in planned:
        key = _key_of(one)
        if key is None:
            entered.append(one)
            continue
        place = places[key]
        places[key] += 1
        due_at = (tx.now if one.due_at is None else one.due_at) if place == 1 else None
        entered.append(replace(one, place=place, due_at=due_at, owner=None, fence=0, attempts=0))
    return entered


def _key_of(one: Delivery) -> LaneKey | None:
    if one.lane is None or one.state is not DeliveryState.PENDING:
        return None
    return one.destination, to_wire(one.lane)


def _take_places(tx: Tx, key: LaneKey, size: int) -> int:
    """The first of so many places at the end of a lane; 1 where the lane was empty."""
    (tail,) = tx.statements.enter_lane.one(tx.connection, (*key, size, 1)) or (size,)
    return int(tail) - size + 1


def leave(tx: Tx, gone: Iterable[Gone]) -> set[LaneKey]:
    """Let the next pass where a head is gone, unless it holds; the lanes whose next is due now."""
    by_lane: dict[LaneKey, list[Gone]] = {}
    for one in gone:
        by_lane.setdefault(one.lane, []).append(one)
    return {key for key in sorted(by_lane) if _pass_on(tx, key, by_lane[key])}


def _pass_on(tx: Tx, key: LaneKey, gone: Sequence[Gone]) -> bool:
    row = tx.statements.lock_lane.one(tx.connection, key)
    if row is None:
        return False
    head = next((one for one in gone if one.place == row.head and one.was_dead == row.held_by), None)
    if head is None:
        return False
    if head.holder is not None:
        tx.statements.hold_lane.one(tx.connection, (head.holder, *key))
        return False
    following = tx.statements.promote.one(tx.connection, (tx.now, tx.now, *key, *key))
    if following is None:
        tx.statements.drop_lane.one(tx.connection, key)
        return False
    tx.statements.head_lane.one(tx.connection, (following.place, *key))
    return True


def restarted(tx: Tx, revived: Sequence[Delivery]) -> None:
    """Put what was dead and is pending again back: as its lane's head where it held it, else at the end."""
    for one in revived:
        key = _key_of(one)
        if key is None:
            continue
        if _let_go(tx, key, one.id):
            values: dict[str, object] = {"due_at": tx.now}
        else:
            place = _take_places(tx, key, 1)
            values = {"place": place, "due_at": tx.now if place == 1 else None}
        tx.connection.execute(sa.update(delivery).where(delivery.c.id == one.id).values(values))


def _let_go(tx: Tx, key: LaneKey, holder: str) -> bool:
    """End the hold of one that is pending again; False where it held nothing."""
    ended = sa.update(lane).where(
        lane.c.destination == key[0], lane.c.key == key[1], lane.c.held_by == holder
    )
    return tx.connection.execute(ended.values(held_by=None)).rowcount > 0
