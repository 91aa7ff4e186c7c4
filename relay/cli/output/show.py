"""The story of one event: how it came, where it went, every attempt, and what is next."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from relay.cli.output.contents import NOTHING, Contents, body_json, headers_json
from relay.cli.output.formats import (
    clean,
    counted,
    decoded,
    first_line,
    instant,
    iso,
    moment,
    relative,
    size,
    span,
)
from relay.cli.output.render import Line
from relay.cli.output.sent import Request
from relay.model import Attempt, Delivery, DeliveryState, Event, EventState, Outcome

Json = dict[str, object]

_FILTERED = {
    "no_route": "its source has no route",
    "no_match": "no route of this source matched",
    "route_error": "a route's `when` failed on it, none matched (the log has route.error)",
    "conflict": "its dedup key was seen before with another body",
}


_DEAD = {
    "max_attempts": "all of `max_attempts` were made",
    "give_up_on": "`give_up_on` lists its status",
    "expired": "it became older than `max_age`",
    "poison": "the process that sent it died, again and again",
    "transform_error": "its request cannot be rendered (`relay explain` says more)",
    "backlog_full": "`max_backlog` of its destination was reached",
}


@dataclass(frozen=True, slots=True)
class Journey:
    """An event with its deliveries, each with its attempts in order.

    waits     by delivery, what keeps it back, where something does
    requests  by delivery, what it sends, where that was asked for
    """

    event: Event
    deliveries: tuple[tuple[Delivery, tuple[Attempt, ...]], ...]
    waits: Mapping[str, str] = field(default_factory=dict)
    requests: Mapping[str, Request] = field(default_factory=dict)


def lines(journey: Journey, now: float, contents: Contents = NOTHING) -> Iterator[Line]:
    """The timeline of one event, from its arrival to what is next; with what it carries, if asked for."""
    yield from _arrival(journey, now)
    yield from contents.lines(journey.event.headers, journey.event.body, depth=2)
    for delivery, attempts in journey.deliveries:
        yield Line("")
        yield from _delivery(delivery, attempts, now, journey.waits.get(delivery.id))
        if (request := journey.requests.get(delivery.id)) is not None:
            yield from _request(request, contents)


def _request(request: Request, contents: Contents) -> Iterator[Line]:
    if request.url is not None:
        yield Line(f"request by today's file: {clean(request.method or '')} {clean(request.url)}", depth=2)
    else:
        yield Line("request", depth=2)
    if request.remark:
        yield Line(f"({request.remark})", depth=3, style="dim")
    if request.is_rendered:
        yield from contents.lines(request.headers, request.body, depth=3)


def _arrival(journey: Journey, now: float) -> Iterator[Line]:
    event = journey.event
    yield Line(f"{event.id}  {clean(event.source)}  {clean(event.type or '(no type)')}", style="bold")
    sender = f" from {clean(event.remote)}" if event.remote else ""
    came = f"{moment(event.received_at)} ({relative(event.received_at, now)})"
    yield Line(f"received     {came}{sender}, {clean(event.method)} /hooks{clean(event.path)}", depth=1)
    if event.provider_id:
        yield Line(f"provider id  {clean(event.provider_id)}", depth=1)
    kind = next((decoded(value) for name, value in event.headers if name == b"content-type"), "")
    yield Line(f"body         {size(len(event.body))} {kind}".rstrip(), depth=1)
    yield Line(f"match        {_match(journey)}", depth=1)


def _match(journey: Journey) -> str:
    match journey.event.state:
        case EventState.FILTERED:
            reason = journey.event.reason or "no_match"
            why = _FILTERED.get(reason, clean(reason))
            return f"filtered: {why}; `relay explain {journey.event.id}` says more"
        case EventState.ROUTED:
            routes = dict.fromkeys(clean(delivery.route) for delivery, _ in journey.deliveries)
            total = counted(len(journey.deliveries), "delivery", "deliveries")
            return f"routed by {', '.join(routes)}: {total}" if routes else "routed"
        case _ as never:
            assert_never(never)


def _delivery(
    delivery: Delivery, attempts: Sequence[Attempt], now: float, waits: str | None
) -> Iterator[Line]:
    style = {
        DeliveryState.DELIVERED: "bold green",
        DeliveryState.DEAD: "bold red",
        DeliveryState.PENDING: "bold yellow",
        DeliveryState.CANCELLED: "dim",
    }[delivery.state]
    head = f"{delivery.id}  -> {clean(delivery.destination)}  {delivery.state.value}"
    yield Line(head, depth=1, style=style)
    lane = f", order key {clean(delivery.lane)}" if delivery.lane is not None else ""
    yield Line(f"route {clean(delivery.route)}, key {clean(delivery.key)}{lane}", depth=2, style="dim")
    for attempt in attempts:
        yield from _attempt(attempt)
    yield Line(_next(delivery, attempts, now, waits), depth=2, style=style)


def _attempt(attempt: Attempt) -> Iterator[Line]:
    said = clean(attempt.outcome.value) + (f" {attempt.status}" if attempt.status is not None else "")
    told = attempt.error and attempt.error != f"HTTP {attempt.status}"
    error = f"  {clean(attempt.error or '')}" if told else ""
    style = "green" if attempt.outcome is Outcome.DELIVERED else ""
    text = f"#{attempt.number}  {instant(attempt.started_at)}  {said}  {span(attempt.duration)}{error}"
    yield Line(text, depth=2, style=style)
    if answer := first_line(attempt.response):
        yield Line(f"answered: {answer}", depth=4, style="dim")
    if attempt.note:
        yield Line(f"note: {clean(attempt.note)}", depth=4, style="dim")


def _next(delivery: Delivery, attempts: Sequence[Attempt], now: float, waits: str | None) -> str:
    ended = delivery.finished_at
    at = f" {moment(ended)}" if ended is not None else ""
    match delivery.state:
        case DeliveryState.PENDING:
            return f"waits: {waits}" if waits else _waiting(delivery, now)
        case DeliveryState.DELIVERED:
            return f"delivered{at} after {counted(len(attempts) or delivery.attempts, 'attempt')}"
        case DeliveryState.DEAD:
            since = f" since{at} ({relative(ended, now)})" if ended is not None else ""
            reason = _DEAD.get(delivery.reason or "")
            why = "".join(f", {part}" for part in (reason, clean(delivery.error or "")) if part)
            held = f"; {waits}" if waits else ""
            is_broken = delivery.reason == "transform_error"
            first = "mend the file and `relay reload`, then " if is_broken else ""
            ways = f"`relay retry {delivery.id}`, or `relay cancel {delivery.id}`"
            return f"dead{since}{why}{held}: {first}{ways}"
        case DeliveryState.CANCELLED:
            was = _DEAD.get(delivery.reason or "")
            return f"cancelled{at}" + (f"; it was dead before: {was}" if was else "")
        case _ as never:
            assert_never(never)


def _waiting(delivery: Delivery, now: float) -> str:
    if delivery.owner is not None:
        return f"attempt {delivery.attempts} is in flight (node {clean(delivery.owner[:8])})"
    if delivery.due_at is None:
        return "pending, without a due time"
    if delivery.due_at <= now:
        return (
            f"due since {moment(delivery.due_at)} ({relative(delivery.due_at, now)}): waits for a free slot"
        )
    return f"tried next at {moment(delivery.due_at)} ({relative(delivery.due_at, now)})"


def event_json(event: Event) -> Json:
    """An event for programs, without its headers and body."""
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "provider_id": event.provider_id,
        "received_at": iso(event.received_at),
        "method": event.method,
        "path": f"/hooks{event.path}",
        "remote": event.remote,
        "size": len(event.body),
        "state": event.state.value,
        "reason": event.reason,
    }


def delivery_json(delivery: Delivery) -> Json:
    """A delivery for programs."""
    return {
        "id": delivery.id,
        "event_id": delivery.event_id,
        "source": delivery.source,
        "route": delivery.route,
        "destination": delivery.destination,
        "key": delivery.key,
        "state": delivery.state.value,
        "attempts": delivery.attempts,
        "created_at": iso(delivery.created_at),
        "due_at": iso(delivery.due_at),
        "in_flight": delivery.owner is not None,
        "outcome": delivery.outcome.value if delivery.outcome else None,
        "status": delivery.status,
        "error": delivery.error,
        "reason": delivery.reason,
        "finished_at": iso(delivery.finished_at),
        "lane": delivery.lane,
    }


def attempt_json(attempt: Attempt) -> Json:
    """An attempt for programs."""
    return {
        "number": attempt.number,
        "started_at": iso(attempt.started_at),
        "duration": attempt.duration,
        "outcome": attempt.outcome.value,
        "status": attempt.status,
        "error": attempt.error,
        "note": attempt.note,
        "response": attempt.response.decode(errors="replace"),
        "node": attempt.node,
    }


def journey_json(journey: Journey) -> Json:
    """The whole story for programs, with headers and body as they came."""
    event = journey.event
    return {
        **event_json(event),
        "query": event.query.decode(errors="replace"),
        "headers": headers_json(event.headers),
        **body_json(event.body),
        "deliveries": [
            {
                **delivery_json(delivery),
                "waits_for": journey.waits.get(delivery.id),
                "history": [attempt_json(attempt) for attempt in attempts],
                **_request_json(event, journey.requests.get(delivery.id)),
            }
            for delivery, attempts in journey.deliveries
        ],
    }


def _request_json(event: Event, request: Request | None) -> Json:
    if request is None:
        return {}
    told: Json = {"method": request.method, "url": request.url, "remark": request.remark}
    if request.is_rendered:
        body = event.body if request.body is None else request.body
        told |= {"headers": headers_json(request.headers), **body_json(body)}
    return {"request": told}
