"""What a filter means in the tables."""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal.tables.rows import to_wire
from relay.journal.tables.schema import delivery, destination, event, is_free
from relay.journal.tables.sql_functions import Place
from relay.journal.values import Filter
from relay.model import DeliveryState, EventState

Conditions = list[sa.ColumnElement[bool]]


def delivery_conditions(wanted: Filter) -> Conditions:
    """Which deliveries."""
    conditions: Conditions = _of_delivery(wanted)
    if wanted.source is not None:
        conditions.append(delivery.c.source == wanted.source)
    if wanted.since is not None:
        conditions.append(delivery.c.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(delivery.c.created_at < wanted.until)
    of_event: Conditions = []
    if isinstance(wanted.state, EventState):
        of_event.append(event.c.state == wanted.state.value)
    if wanted.search is not None:
        of_event.append(_search(wanted.search))
    if of_event:
        conditions.append(sa.exists().where(event.c.id == delivery.c.event_id, *of_event).correlate(delivery))
    return conditions


def event_conditions(wanted: Filter) -> Conditions:
    """Which events; where a filter speaks of deliveries, those with such a one."""
    conditions: Conditions = []
    if wanted.source is not None:
        conditions.append(event.c.source == wanted.source)
    if wanted.since is not None:
        conditions.append(event.c.received_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(event.c.received_at < wanted.until)
    if isinstance(wanted.state, EventState):
        conditions.append(event.c.state == wanted.state.value)
    if wanted.search is not None:
        conditions.append(_search(wanted.search))
    of_delivery = _of_delivery(wanted)
    if of_delivery:
        conditions.append(sa.exists().where(delivery.c.event_id == event.c.id, *of_delivery).correlate(event))
    return conditions


def _of_delivery(wanted: Filter) -> Conditions:
    conditions: Conditions = []
    if wanted.route is not None:
        conditions.append(delivery.c.route == wanted.route)
    if wanted.destination is not None:
        conditions.append(delivery.c.destination == wanted.destination)
    if isinstance(wanted.state, DeliveryState):
        # As a literal, so that the partial indexes serve.
        conditions.append(delivery.c.state == sa.literal_column(f"'{wanted.state.value}'"))
    if wanted.outcome is not None:
        conditions.append(delivery.c.outcome == wanted.outcome.value)
    if wanted.status is not None:
        conditions.append(delivery.c.status == wanted.status)
    if wanted.blocked:
        conditions += [is_free, _blocked(wanted)]
    return conditions


def _blocked(wanted: Filter) -> sa.ColumnElement[bool]:
    """What waits for more than its due time."""
    kept_back = sa.or_(destination.c.paused_at.is_not(None), destination.c.opened_at.is_not(None))
    if wanted.now is not None:
        kept_back = sa.or_(kept_back, destination.c.held_until > wanted.now)
    ways = [
        delivery.c.due_at.is_(None),
        delivery.c.destination.in_(sa.select(destination.c.name).where(kept_back)),
    ]
    if wanted.destinations is not None:
        ways.append(delivery.c.destination.not_in(sorted(wanted.destinations)))
    return sa.or_(*ways)


def _search(text: str) -> sa.ColumnElement[bool]:
    part = to_wire(text)
    columns = (event.c.provider_id, event.c.type, event.c.path, event.c.body)
    places = [
        Place(sa.func.coalesce(column, sa.literal(b"", sa.LargeBinary)), sa.literal(part, sa.LargeBinary)) > 0
        for column in columns
    ]
    is_text = text.isascii() and text.isprintable()  # some engines compare no other with a text column
    return sa.or_(*places, event.c.id == text) if is_text else sa.or_(*places)
