"""A changed order: what is planned by the new one waits until what was pending at the change has ended.

Without that a first delivery of a lane would go out at once, before older ones of its key that stand in no
lane, or in that of another key. It is planned `behind`: without a due time until a change is over. Changes
that follow one another are over in their order: what was planned between two of them goes in between.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from relay.journal.tables.facts import put_fact, read_fact
from relay.journal.tables.schema import (
    delivery,
    is_behind,
    is_owned,
    is_parked,
    is_suspect,
    is_waiting,
)
from relay.journal.tables.sql_functions import among
from relay.journal.writes import advisory_locks
from relay.journal.writes.tx import BATCH, Tx

Orders = Mapping[str, Mapping[str, str]]
"""By destination and route, the key by which deliveries go in order; "" where they go in none."""


@dataclass(frozen=True, slots=True)
class OrderChange:
    """From `since` on, the deliveries of these routes of each destination are planned by another key."""

    since: float
    routes: Mapping[str, Collection[str]]


@dataclass(frozen=True, slots=True)
class _Step:
    """One change of a destination's order that is not over.

    upto    the last delivery that was stored when the change was written
    since   when the first could be planned by it; one that was is stored before `upto` now and then
    routes  the routes whose new deliveries wait
    """

    upto: int
    since: float
    routes: tuple[str, ...]

    @property
    def is_before(self) -> sa.ColumnElement[bool]:
        """Whether a delivery that waits was planned before this change, and waits for earlier ones."""
        return sa.and_(delivery.c.seq <= self.upto, delivery.c.created_at < self.since)


_Steps = Mapping[str, Sequence[_Step]]
"""By destination, the changes of its order that are not over, the oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChanges:
    """Changes of an order that are not over.

    waiting   by destination, the routes whose new deliveries wait for what was pending at the change
    begun     destinations whose change begins with this answer
    released  destinations of which something goes on with this answer
    is_full   whether more may go on
    """

    waiting: Mapping[str, frozenset[str]]
    begun: tuple[str, ...] = ()
    released: frozenset[str] = frozenset()
    is_full: bool = False


_ORDERS = "orders"
_CHANGES = "order_changes"
FACTS = (_ORDERS, _CHANGES)
"""The keys of `meta` under which the journal has them."""


def read_orders(connection: sa.Connection) -> Orders | None:
    """The orders that nodes go by, as the last of them wrote them; None before the first."""
    orders: Orders | None = _read(connection, _ORDERS)
    return orders


def read_changes(connection: sa.Connection) -> Mapping[str, frozenset[str]]:
    """By destination, the routes whose new deliveries wait for older ones."""
    return _waiting(_read_steps(connection))


def change(tx: Tx, orders: Orders, changes: Sequence[OrderChange]) -> OrderChanges:
    """Have new deliveries of these routes wait for what their destination has pending before each change."""
    _lock(tx)
    newest = sa.select(sa.func.coalesce(sa.func.max(delivery.c.seq), 0))
    upto = tx.connection.execute(newest).scalar_one()
    steps = dict(_read_steps(tx.connection))
    begun: dict[str, None] = {}
    for one in changes:
        for name in sorted(one.routes):
            step = _Step(upto, one.since, tuple(sorted(one.routes[name])))
            if _has_older(tx, name, step):
                begun[name] = None
                steps[name] = (*steps.get(name, ()), step)
    _write(tx, _ORDERS, {**(read_orders(tx.connection) or {}), **orders})
    _write_steps(tx, steps)
    return OrderChanges(waiting=_waiting(steps), begun=tuple(begun))


def follow(tx: Tx) -> OrderChanges:
    """End the changes before which nothing can go any more, and let a batch of what waited go on."""
    steps = _read_steps(tx.connection)
    if any(not _has_older(tx, name, found[0]) for name, found in steps.items()):
        _lock(tx)
        steps = {
            name: left
            for name, found in _read_steps(tx.connection).items()
            if (left := _left(tx, name, found))
        }
        _write_steps(tx, steps)
    released: set[str] = set()
    count = 0
    name = _next_behind(tx, "")
    while name is not None and count < BATCH:
        # Whoever planned them: what waits for no change any more goes on.
        if number := _let_go(tx, name, steps.get(name, ()), BATCH - count):
            released.add(name)
            count += number
        name = _next_behind(tx, name)
    return OrderChanges(waiting=_waiting(steps), released=frozenset(released), is_full=count >= BATCH)


def _left(tx: Tx, name: str, steps: Sequence[_Step]) -> Sequence[_Step]:
    """Those of a destination's changes that are not over."""
    over = 0
    while over < len(steps) and not _has_older(tx, name, steps[over]):
        over += 1
    return steps[over:]


def _waiting(steps: _Steps) -> Mapping[str, frozenset[str]]:
    return {name: frozenset(route for one in found for route in one.routes) for name, found in steps.items()}


def _next_behind(tx: Tx, after: str) -> str | None:
    """The next destination for which something waits; one look into the index, however much that is."""
    first = sa.select(sa.func.min(delivery.c.destination)).where(is_behind, delivery.c.destination > after)
    name: str | None = tx.connection.execute(first).scalar_one()
    return name


def _let_go(tx: Tx, name: str, steps: Sequence[_Step], limit: int) -> int:
    """Let what waits for none of a destination's changes go on, the oldest first; how many those are."""
    oldest = (
        sa.select(delivery.c.seq)
        .where(is_behind, delivery.c.destination == name, *(one.is_before for one in steps[:1]))
        .order_by(delivery.c.seq)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    let_go = (
        sa.update(delivery)
        .where(among(delivery.c.seq, oldest))
        .values(
            due_at=sa.case((is_parked, sa.literal(tx.now, sa.Double)), else_=delivery.c.due_at),
            parked_at=None,
            behind_since=None,
        )
    )
    return tx.connection.execute(let_go).rowcount


def _has_older(tx: Tx, name: str, step: _Step) -> bool:
    """Whether something that can go by itself was planned before a change; short looks into indexes."""
    bound = {"b_name": name, "b_upto": step.upto, "b_since": step.since}
    return any(tx.connection.execute(look, bound).first() is not None for look in _LOOKS)


def _looks() -> Iterator[sa.Select[Any]]:
    """What has a due time, what is owned, what waits for an earlier change.

    What else is pending is in a lane behind one of these, or goes when somebody acts: it is parked, since
    its route has left the file, or in a lane that a dead one holds, so that waiting for it might never end.
    """
    one = sa.select(sa.literal(1)).select_from(delivery).limit(1)
    one = one.where(
        delivery.c.destination == sa.bindparam("b_name"), delivery.c.seq <= sa.bindparam("b_upto")
    )
    yield one.where(is_waiting, delivery.c.due_at.is_not(None))
    yield one.where(is_suspect, delivery.c.due_at.is_not(None))
    yield one.where(is_owned)
    yield one.where(is_behind, delivery.c.created_at < sa.bindparam("b_since"))


_LOOKS = tuple(_looks())


def _read_steps(connection: sa.Connection) -> _Steps:
    found: dict[str, list[dict[str, Any]]] = _read(connection, _CHANGES) or {}
    return {
        name: tuple(_Step(one["upto"], one["since"], tuple(one["routes"])) for one in steps)
        for name, steps in found.items()
    }


def _write_steps(tx: Tx, steps: _Steps) -> None:
    _write(tx, _CHANGES, {name: [asdict(one) for one in found] for name, found in steps.items()})


def _read(connection: sa.Connection, key: str) -> Any:
    found = read_fact(connection, key)
    return None if found is None else json.loads(found)


def _write(tx: Tx, key: str, value: object) -> None:
    put_fact(tx.connection, key, json.dumps(value, sort_keys=True))


def _lock(tx: Tx) -> None:
    """Let no other node change them before this transaction ends."""
    advisory_locks.lock(tx.connection, b"orders")
