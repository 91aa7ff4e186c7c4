"""What a pending delivery waits for, other than its time: said in words that name the way out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from relay.cli.output.formats import clean, counted, moment, per, relative
from relay.model import Delivery, DeliveryState, Standing

if TYPE_CHECKING:
    from relay.config import Destination
    from relay.journal import LaneView, Reader


def waits_for(
    reader: Reader, delivery: Delivery, *, destinations: Mapping[str, Destination] | None, now: float
) -> str | None:
    """What keeps this delivery back, or waits for it; None where nothing does but its due time.

    `destinations` are those of today's file; None where that is not known.
    """
    if delivery.state is DeliveryState.DEAD and delivery.lane is not None and delivery.hold:
        lane = reader.lane_of(delivery)
        return "its lane waits for it" if lane is not None and lane.held_by == delivery.id else None
    if delivery.state is not DeliveryState.PENDING or delivery.owner is not None:
        return None
    if destinations is not None and delivery.destination not in destinations:
        return gone(delivery.destination)
    lane = reader.lane_of(delivery)
    behind = None if lane is None else in_lane(delivery, lane)
    if behind is None and delivery.due_at is None:
        return _without_time(delivery)
    kept = behind or kept_back(reader.standing(delivery.destination), now)
    if kept or destinations is None or delivery.due_at is None or delivery.due_at > now:
        return kept
    turn = bound_by(destinations[delivery.destination], reader.in_flight().get(delivery.destination, 0))
    return turn and f"its turn (due {relative(delivery.due_at, now)}): {turn}"


def _without_time(delivery: Delivery) -> str:
    """What one waits for that is its lane's head, or in none, and has no due time."""
    if delivery.behind:
        return (
            "what was pending when the order of its route changed goes first;"
            f" sooner, out of order, by `relay retry {delivery.id}`"
        )
    return f"its route {clean(delivery.route)} left the file, and with it the transform: put it back"


def gone(destination: str) -> str:
    """What to do where a destination has left the file."""
    return (
        f"{clean(destination)} is not in the file (any more): put it back and `relay reload`,"
        " or `relay cancel`"
    )


def in_lane(delivery: Delivery, lane: LaneView) -> str | None:
    """Whom it waits for in its lane; None for the head."""
    if lane.held_by is not None:
        return (
            f"its lane is held by {lane.held_by}, which is dead: `relay retry {lane.held_by}`"
            f" or `relay cancel {lane.held_by}`"
        )
    if lane.head_id == delivery.id:
        return None
    return f"behind {counted(lane.position - 1, 'other')} of its lane, {lane.head_id} first"


def kept_back(standing: Standing | None, now: float) -> str | None:
    """What keeps a whole destination back: a pause, an open breaker, or a hold that it asked for."""
    if standing is None:
        return None
    if standing.paused_at is not None:
        since = relative(standing.paused_at, now)
        why = clean(standing.pause_reason or "operator")
        return f"paused {since} ({why}): `relay resume {clean(standing.name)}`"
    if standing.opened_at is not None:
        at = "" if standing.probe_at is None else f" {relative(standing.probe_at, now)}"
        return (
            f"its breaker is open since {moment(standing.opened_at)}: one delivery is tried{at};"
            " the others go out after one succeeds"
        )
    if standing.held_until is not None and standing.held_until > now:
        return (
            f"it asked to wait (429) until {moment(standing.held_until)};"
            f" sooner by `relay resume {clean(standing.name)}`"
        )
    return None


def bound_by(destination: Destination, in_flight: int) -> str | None:
    """Which of its limits a destination's due deliveries wait for; None where it is neither."""
    if in_flight >= destination.concurrency:
        return f"{in_flight} of {destination.concurrency} in flight"
    return None if destination.rate is None else f"at most {per(destination.rate)}"


def _short(
    delivery: Delivery,
    standing: Standing | None,
    *,
    destination: Destination | None,
    in_flight: int,
    now: float,
) -> str | None:
    """The same in two or three words, for a column; the head of a lane may be a dead one."""
    if delivery.due_at is None:
        if delivery.behind:
            return "behind older ones"
        return "its route left" if delivery.lane is None else "behind in its lane"
    if standing is not None:
        if standing.paused_at is not None:
            return "paused"
        if standing.opened_at is not None:
            return "breaker open"
        if standing.held_until is not None and standing.held_until > now:
            return f"asked to wait, goes on {relative(standing.held_until, now)}"
    turn = None if destination is None or delivery.due_at > now else bound_by(destination, in_flight)
    return turn and f"due: {turn}"


def waiting_for(
    reader: Reader, found: list[Delivery], destinations: Mapping[str, Destination] | None, now: float
) -> Mapping[str, str]:
    """What keeps back those of the found that wait for more than their time, in two or three words, by id."""
    waiting = [one for one in found if one.state is DeliveryState.PENDING and one.owner is None]
    standings = {name: reader.standing(name) for name in {one.destination for one in waiting}}
    in_flight = reader.in_flight() if waiting else {}
    waits = {}
    for one in waiting:
        name = one.destination
        if destinations is not None and name not in destinations:
            waits[one.id] = "not in the file"
        else:
            text = _short(
                one,
                standings[name],
                destination=None if destinations is None else destinations[name],
                in_flight=in_flight.get(name, 0),
                now=now,
            )
            if text:
                waits[one.id] = text
    return waits
