"""What a replay sends: new deliveries of stored events, planned from what went out before."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from relay.model import Delivery, Event

if TYPE_CHECKING:
    from relay.config import Configuration

_BY_HAND = "replay"
"""The route's name of a delivery that no route ever planned."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a replay of one event goes, and under which key (None: a new one)."""

    event_id: str
    source: str
    route: str
    destination: str
    key: str | None
    transform: bool


def again(deliveries: Iterable[Delivery]) -> Iterator[Target]:
    """Each event to where it went before, once for each of its routes and destinations."""
    seen: set[tuple[str, str, str]] = set()
    for one in deliveries:
        place = (one.event_id, one.route, one.destination)
        if place not in seen:
            seen.add(place)
            yield Target(
                event_id=one.event_id,
                source=one.source,
                route=one.route,
                destination=one.destination,
                key=one.key,
                transform=one.transform,
            )


def to_destination(event: Event, before: Iterable[Delivery], destination: str) -> Target:
    """One event to one destination, by the route it took there before or by hand."""
    earlier = next((one for one in before if one.destination == destination), None)
    return Target(
        event_id=event.id,
        source=event.source,
        route=earlier.route if earlier else _BY_HAND,
        destination=destination,
        key=earlier.key if earlier else None,
        transform=earlier.transform if earlier else False,
    )


def rerouted(event: Event, before: Iterable[Delivery], configuration: Configuration) -> Iterator[Target]:
    """One event by today's routes; a destination that it went to before gets the key it knows."""
    from relay.routing import match, view_of

    source = configuration.sources.get(event.source)
    if source is None:
        return
    view = view_of(event, source.path.match(event.path) or {}, source.parse)
    keys = {one.destination: one.key for one in before}
    for route in match(configuration.routes.get(event.source, ()), view).routes:
        for destination in route.to:
            yield Target(
                event_id=event.id,
                source=event.source,
                route=route.name,
                destination=destination,
                key=keys.get(destination),
                transform=route.transform is not None,
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
    )
