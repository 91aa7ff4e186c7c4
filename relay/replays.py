"""What a replay sends: new deliveries of stored events, planned from what went out before."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.errors import UsageError
from relay.model import Delivery, Event, Rendered

if TYPE_CHECKING:
    from relay.config import Configuration


@dataclass(frozen=True, slots=True)
class Target:
    """Where a replay of one event goes, in which lane, and under which key (None: a new one).

    `rendered` is an alert's letter; what a transform renders is rendered anew.
    """

    event_id: str
    source: str
    route: str
    destination: str
    key: str | None
    transform: bool
    lane: str | None
    hold: bool
    rendered: Rendered | None = None


def again(deliveries: Iterable[Delivery]) -> Iterator[Target]:
    """Each event to where it went before, once for each of its routes and destinations."""
    from relay.telemetry import ALERT_SOURCE

    oldest: dict[tuple[str, str, str], Delivery] = {}
    for one in deliveries:
        place = (one.event_id, one.route, one.destination)
        known = oldest.get(place)
        if known is None or (one.created_at, one.id) < (known.created_at, known.id):
            oldest[place] = one
    for one in oldest.values():
        yield Target(
            event_id=one.event_id,
            source=one.source,
            route=one.route,
            destination=one.destination,
            key=one.key,
            transform=one.transform,
            lane=one.lane,
            hold=one.hold,
            rendered=one.rendered if one.source == ALERT_SOURCE else None,
        )


def to_destination(
    event: Event, before: Iterable[Delivery], destination: str, configuration: Configuration
) -> Target:
    """One event to one destination, by the route it first took there or by hand; `before` oldest first.

    Raises UsageError where its lane depends on a variable that is not set.
    """
    from relay.alerts import letter
    from relay.explain import BY_HAND, order_of

    earlier = next((one for one in before if one.destination == destination), None)
    if earlier is not None:
        return next(again((earlier,)))
    if configuration.has_unknown_order(destination):
        raise UsageError(
            f"the `order` of {destination} depends on a variable that is not set here."
            " Set it as the service has it"
        )
    lane, hold = order_of(event, destination, configuration)
    return Target(
        event_id=event.id,
        source=event.source,
        route=BY_HAND,
        destination=destination,
        key=None,
        transform=False,
        lane=lane,
        hold=hold,
        rendered=letter(event, configuration.destinations[destination]),
    )


def rerouted(event: Event, before: Sequence[Delivery], configuration: Configuration) -> Iterator[Target]:
    """One event by today's routes; a destination that it went to before gets the key it knows first.

    `before` has the oldest first. Where several routes led there, the one of the same name counts.
    """
    from relay.explain import explain

    found = explain(event, configuration)
    by_destination = {one.destination: one.key for one in reversed(before)}
    by_route = {(one.route, one.destination): one.key for one in reversed(before)}
    for going in found.going if found else ():
        key = by_route.get((going.route, going.destination), by_destination.get(going.destination))
        lane = going.lane.text if going.lane else None
        yield Target(
            event_id=event.id,
            source=event.source,
            route=going.route,
            destination=going.destination,
            key=key,
            transform=going.transform,
            lane=lane,
            hold=lane is not None and going.hold,
        )


def planned(target: Target, *, now: float, new_id: Callable[[], str], new_key: bool) -> Delivery:
    """The delivery that a target asks for, due at once."""
    delivery_id = new_id()
    return Delivery(
        id=delivery_id,
        event_id=target.event_id,
        source=target.source,
        route=target.route,
        destination=target.destination,
        key=delivery_id if new_key or target.key is None else target.key,
        created_at=now,
        age_from=now,
        due_at=now,
        transform=target.transform,
        lane=target.lane,
        hold=target.hold,
        rendered=target.rendered,
    )
