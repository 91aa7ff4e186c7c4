"""A changed order: what is planned by the new one waits until what was pending at the change has ended.

Without that a first delivery of a lane would go out at once, before older ones of its key that stand in no
lane, or in that of another key. It is planned `behind`: without a due time until a change is over.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from relay.journal import advisory_locks
from relay.journal.constructs import among
from relay.journal.facts import put_fact, read_fact
from relay.journal.schema import (
    delivery,
    in_lane,
    is_behind,
    is_held,
    is_owned,
    is_parked,
    is_suspect,
    is_waiting,
    lane,
)
from relay.journal.tx import BATCH, Tx

Orders = Mapping[str, Mapping[str, str]]
"""By destination and route, the key by which deliveries go in order; "" where they go in none."""


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
    changes = _read(connection, _CHANGES) or {}
    return {name: frozenset(change["routes"]) for name, change in changes.items()}


def change(tx: Tx, orders: Orders, changed: Mapping[str, Collection[str]]) -> OrderChanges:
    """Have new deliveries of these routes wait for all that their destination has pending now."""
    _lock(tx)
    newest = sa.select(sa.func.coalesce(sa.func.max(delivery.c.seq), 0))
    upto = tx.connection.execute(newest).scalar_one()
    changes = dict(_read(tx.connection, _CHANGES) or {})
    begun = []
    for name in sorted(changed):
        if _has_older(tx, name, upto):
            begun.append(name)
            routes = {*changes.get(name, {}).get("routes", ()), *changed[name]}
            changes[name] = {"upto": upto, "routes": sorted(routes)}
    _write(tx, _ORDERS, {**(read_orders(tx.connection) or {}), **orders})
    _write(tx, _CHANGES, changes)
    return OrderChanges(waiting=read_changes(tx.connection), begun=tuple(begun))


def follow(tx: Tx) -> OrderChanges:
    """End the changes before which nothing is pending any more, and let a batch of what waited go on."""
    changes = _read(tx.connection, _CHANGES) or {}
    if any(not _has_older(tx, name, one["upto"]) for name, one in changes.items()):
        _lock(tx)
        changes = {
            name: one
            for name, one in (_read(tx.connection, _CHANGES) or {}).items()
            if _has_older(tx, name, one["upto"])
        }
        _write(tx, _CHANGES, changes)
    waiting = {name: frozenset(one["routes"]) for name, one in changes.items()}
    released: set[str] = set()
    count = 0
    name = _next_behind(tx, "")
    while name is not None and count < BATCH:
        # Whatever change they waited for, and whoever planned them: their destination has none any more.
        if name not in waiting and (number := _let_go(tx, name, BATCH - count)):
            released.add(name)
            count += number
        name = _next_behind(tx, name)
    return OrderChanges(waiting=waiting, released=frozenset(released), is_full=count >= BATCH)


def _next_behind(tx: Tx, after: str) -> str | None:
    """The next destination for which something waits; one look into the index, however much that is."""
    first = sa.select(sa.func.min(delivery.c.destination)).where(is_behind, delivery.c.destination > after)
    name: str | None = tx.connection.execute(first).scalar_one()
    return name


def _let_go(tx: Tx, name: str, limit: int) -> int:
    """Let what waits for a destination go on, the oldest first; how many those are."""
    oldest = (
        sa.select(delivery.c.seq)
        .where(is_behind, delivery.c.destination == name)
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


def _has_older(tx: Tx, name: str, upto: int) -> bool:
    """Whether something of a destination is pending that was planned before; short looks into indexes."""
    return any(
        tx.connection.execute(look.limit(1), {"b_name": name, "b_upto": upto}).first() is not None
        for look in _LOOKS
    )


def _looks() -> Iterator[sa.Select[Any]]:
    """What waits and has a due time, what is owned or parked, what is behind a dead one: all that is pending.

    What else has no due time is in a lane behind one of these.
    """
    one = sa.select(sa.literal(1)).select_from(delivery)
    one = one.where(
        delivery.c.destination == sa.bindparam("b_name"), delivery.c.seq <= sa.bindparam("b_upto")
    )
    yield one.where(is_waiting, delivery.c.due_at.is_not(None))
    yield one.where(is_suspect, delivery.c.due_at.is_not(None))
    yield one.where(is_owned)
    held = sa.and_(lane.c.destination == delivery.c.destination, lane.c.key == delivery.c.lane, is_held)
    yield one.join(lane, held).where(in_lane, sa.not_(is_behind))
    yield one.where(is_parked, sa.not_(is_behind))


_LOOKS = tuple(_looks())


def _read(connection: sa.Connection, key: str) -> Any:
    found = read_fact(connection, key)
    return None if found is None else json.loads(found)


def _write(tx: Tx, key: str, value: object) -> None:
    put_fact(tx.connection, key, json.dumps(value, sort_keys=True))


def _lock(tx: Tx) -> None:
    """Let no other node change them before this transaction ends."""
    advisory_locks.lock(tx.connection, b"orders")
