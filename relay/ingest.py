"""Accept one request: verify, identify, plan, append to the journal, and say what to answer.

Nothing here waits for a downstream. When `accept` returns, the event is on disk; what is left to do
is in the receipt: the deliveries that this process already owns and should try at once.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from uuid_utils import uuid7

from relay.config import Configuration, Destination, Source
from relay.dispatch import Dispatcher
from relay.errors import ExpressionError, RequestRefused
from relay.expressions import View
from relay.journal import Entry, Journal, Receipt
from relay.limits import Bucket
from relay.model import Dedup, Delivery, DeliveryState, Event, EventState, Outcome, Request, route_id
from relay.process.clock import Clock
from relay.routing import Match, Order, Route, match
from relay.signatures import Answer, Verified
from relay.source_verifier import Verifier, without_secrets
from relay.telemetry import Telemetry

_BACKLOG_RETRY_AFTER = 30
"""Seconds after which a sender may try again where the backlog is full; it drains slowly."""

_UNPARSED = frozenset({"too_large", "too_deep"})
"""Why a body that may well be JSON was not parsed; one that is none needs no remark."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event that was taken, what the journal said, and what to try at once."""

    event: Event
    receipt: Receipt
    owned: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """The deliveries of one event, and the name and message of each route whose order key gave none."""

    deliveries: tuple[Delivery, ...]
    errors: tuple[tuple[str, str], ...]


class _Reserved:
    """The slots, and the room for the body, that an event took before it is stored."""

    __slots__ = ("_dispatcher", "_taken", "event")

    def __init__(self, dispatcher: Dispatcher, event: Event) -> None:
        self._dispatcher = dispatcher
        self.event = event
        self._taken: list[tuple[str, str]] = []

    def take(self, destination: str, delivery_id: str) -> bool:
        """Reserve for one delivery; False where others must go first."""
        if not self._dispatcher.reserve(destination, delivery_id, self.event):
            return False
        self._taken.append((destination, delivery_id))
        return True

    def give_back(self) -> None:
        """Give all of it back: the event is not stored as planned."""
        for destination, delivery_id in self._taken:
            self._dispatcher.unreserve(destination, delivery_id)


class Ingest:
    """Takes requests for the configured sources; one instance per process."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        journal: Journal,
        dispatcher: Dispatcher,
        verifier: Verifier,
        telemetry: Telemetry,
        clock: Clock,
        max_backlog: int = 0,
    ) -> None:
        self._journal = journal
        self._dispatcher = dispatcher
        self._verifier = verifier
        self._telemetry = telemetry
        self._clock = clock
        self._max_backlog = max_backlog
        self._rates: Mapping[str, Bucket] = {}
        self._behind: Mapping[str, frozenset[str]] = {}
        self.replace(configuration)

    def replace(self, configuration: Configuration) -> None:
        """Take another configuration; a source has used of its rate what it had used."""
        self._configuration = configuration
        self._rates = dict(_rates(configuration, self._rates, self._clock.now()))

    def wait_behind(self, routes: Mapping[str, frozenset[str]]) -> None:
        """By destination, the routes whose new deliveries wait for what was planned by another order."""
        self._behind = routes

    async def accept(
        self, source: Source, placeholders: Mapping[str, str], request: Request, *, wall: float
    ) -> Accepted | Answer:
        """Take one request for `source`; `wall` is the wall clock, by which signatures are dated.

        Raises RequestRefused (401, 429 and what the journal's state asks for) and JournalUnavailable.
        """
        if self._max_backlog and sum(self._journal.backlogs().values()) >= self._max_backlog:
            raise RequestRefused(503, "backlog_full", retry_after=_BACKLOG_RETRY_AFTER)
        verified = await self._verifier.verify(source, request, wall)
        event_id = f"evt_{uuid7().hex}"
        kept = without_secrets(request, source.scheme)
        view = View(
            source=source.name,
            event_id=event_id,
            received_at=request.received_at,
            method=request.method,
            query=kept.query,
            headers=kept.headers,
            body=request.body,
            placeholders=placeholders,
            parse_limit=source.parse,
        )
        answer = source.scheme.answer(request, lambda: view.parsed)
        if answer is not None:
            await self._verifier.confirm(source, request, lambda: view.parsed)
            self._telemetry.handshake_answered(source=source.name)
            return answer
        if source.rate is not None:
            self._keep_rate(source)
        identity = source.scheme.identify(request, lambda: view.parsed)
        view.type, view.provider_id = identity.type, identity.provider_id
        routes = self._configuration.routes.get(source.name, ())
        matched = match(routes, view)
        reason = None if matched.routes else _nowhere(routes, matched)
        event = _event(event_id, source, view, kept, reason)
        return await self._append(source, event, view, matched, verified)

    def _keep_rate(self, source: Source) -> None:
        """Refuse what comes faster than the source's rate, with the seconds to the next free token."""
        bucket, now = self._rates.get(source.name), self._clock.now()
        if bucket is not None and not bucket.take(now):
            raise RequestRefused(429, "rate", retry_after=max(1, math.ceil(bucket.ready_at - now)))

    async def _append(
        self, source: Source, event: Event, view: View, matched: Match, verified: Verified
    ) -> Accepted:
        now = self._clock.now()
        dedup = _dedup(source, view, event, now)
        reserved = _Reserved(self._dispatcher, event)
        stored = False
        try:
            plan = self._plan(reserved, view, matched, now)
            receipt = await self._journal.append(Entry(event=event, deliveries=plan.deliveries, dedup=dedup))
            stored = receipt.kind == "stored"
        finally:
            if not stored:
                reserved.give_back()
        owned = tuple(one for one in plan.deliveries if one.owner is not None) if stored else ()
        try:
            self._nudge(plan.deliveries if stored else (), receipt)
            self._tell(event, view, matched, receipt=receipt, verified=verified, plan=plan)
        except Exception as error:  # noqa: BLE001 - the event is on disk, which its sender must be told
            self._telemetry.internal_error(where="ingest", error=error)
        return Accepted(event, receipt, owned)

    def _nudge(self, stored: Sequence[Delivery], receipt: Receipt) -> None:
        """Have claimed what is due and not tried at once."""
        for delivery in stored:
            is_due = delivery.state is DeliveryState.PENDING and delivery.owner is None
            if is_due and not delivery.behind:
                self._dispatcher.nudge(delivery.destination)
        for destination in receipt.revived:
            self._dispatcher.nudge(destination)

    def _plan(self, reserved: _Reserved, view: View, matched: Match, now: float) -> _Plan:
        """One delivery for each destination of each route that matched, owned where a slot is free."""
        planned: list[Delivery] = []
        errors: list[tuple[str, str]] = []
        destinations = self._configuration.destinations
        for route in matched.routes:
            for name in route.to:
                destination = destinations[name]
                order = route.order or destination.order
                lane = None if order is None else _lane(order, route, view, errors)
                delivery = self._planned(reserved, route, destination, lane, now)
                if lane is not None and order is not None and order.hold:
                    delivery = replace(delivery, hold=True)
                planned.append(delivery)
        return _Plan(tuple(planned), tuple(errors))

    def _planned(
        self, reserved: _Reserved, route: Route, destination: Destination, lane: str | None, now: float
    ) -> Delivery:
        event = reserved.event
        name = destination.name
        is_full = destination.max_backlog is not None and self._is_full(name, destination.max_backlog)
        behind = bool(self._behind) and route_id(event.source, route.name) in self._behind.get(name, ())
        # What stands in a lane, or behind older ones, goes by its turn, which the journal knows.
        delivery_id = f"dlv_{uuid7().hex}"
        is_free = lane is None and not behind and not is_full
        owned = is_free and reserved.take(name, delivery_id)
        delivery = Delivery(
            id=delivery_id,
            event_id=event.id,
            source=event.source,
            route=route.name,
            destination=name,
            key=delivery_id,
            created_at=now,
            age_from=self._dispatcher.standing(name).time(now),
            due_at=now,
            owner=self._journal.node if owned else None,
            fence=1 if owned else 0,
            attempts=1 if owned else 0,
            transform=route.transform is not None,
            lane=lane,
            behind=behind,
        )
        return _born_dead(delivery, destination, now) if is_full else delivery

    def _is_full(self, destination: str, max_backlog: int) -> bool:
        return self._journal.backlogs().get(destination, 0) >= max_backlog

    def _tell(
        self,
        event: Event,
        view: View,
        matched: Match,
        *,
        receipt: Receipt,
        verified: Verified,
        plan: _Plan,
    ) -> None:
        told = self._telemetry
        duration = self._clock.now() - event.received_at
        unparsed = view.parse_error if view.parse_error in _UNPARSED else None
        for route, message in matched.errors:
            told.route_error(event=event, route=route, error=message)
        if receipt.kind == "duplicate":
            told.event_duplicate(event=event, first=receipt.event_id, revived=receipt.revived)
        elif receipt.kind == "conflict":
            told.event_conflict(event=event, first=receipt.first_event_id)
        elif event.state is EventState.FILTERED:
            told.event_filtered(
                event=event, secret_index=verified.secret_index, duration=duration, unparsed=unparsed
            )
        else:
            told.event_accepted(
                event=event,
                routes=[route.name for route in matched.routes],
                deliveries=len(plan.deliveries),
                secret_index=verified.secret_index,
                duration=duration,
                unparsed=unparsed,
            )
        if receipt.kind == "stored":
            for route, message in plan.errors:
                told.route_error(event=event, route=route, error=message)
            for delivery in plan.deliveries:
                if delivery.state is DeliveryState.DEAD:
                    told.delivery_dead(event=event, delivery=delivery, reason=delivery.reason)


def _nowhere(routes: Sequence[Route], matched: Match) -> str:
    """Why an event goes nowhere."""
    if not routes:
        return "no_route"
    return "route_error" if matched.errors else "no_match"


def _event(event_id: str, source: Source, view: View, request: Request, reason: str | None) -> Event:
    return Event(
        id=event_id,
        source=source.name,
        type=view.type,
        provider_id=view.provider_id,
        received_at=request.received_at,
        method=request.method,
        path=request.path,
        query=request.query,
        headers=request.headers,
        body=request.body,
        remote=request.remote,
        state=EventState.ROUTED if reason is None else EventState.FILTERED,
        reason=reason,
    )


def _dedup(source: Source, view: View, event: Event, now: float) -> Dedup | None:
    """The event's dedup entry; None where the source has none or this event has no key."""
    rule = source.dedup
    if rule is None:
        return None
    try:
        key = rule.key_of(view)
    except ExpressionError:
        return None
    if key is None:
        return None
    digest = hashlib.sha256(event.body).digest()
    return Dedup(key=key, body_hash=digest, expires_at=now + rule.window)


def _born_dead(delivery: Delivery, destination: Destination, now: float) -> Delivery:
    """A delivery for which there is no room: it can be retried and replayed like any other that died."""
    return replace(
        delivery,
        state=DeliveryState.DEAD,
        due_at=None,
        outcome=Outcome.BACKLOG_FULL,
        error=f"max_backlog: {destination.max_backlog} deliveries wait already",
        reason=Outcome.BACKLOG_FULL.value,
        finished_at=now,
    )


def _rates(
    configuration: Configuration, known: Mapping[str, Bucket], now: float
) -> Iterator[tuple[str, Bucket]]:
    """A bucket for each source with a rate: up to a second's worth at once."""
    for name, source in configuration.sources.items():
        if source.rate is None:
            continue
        burst = max(1.0, source.rate)
        bucket = known.get(name) or Bucket(source.rate, burst=burst)
        if bucket.rate != source.rate:
            bucket.change(rate=source.rate, burst=burst, now=now)
        yield name, bucket


def _lane(order: Order, route: Route, view: View, errors: list[tuple[str, str]]) -> str | None:
    """The lane in which an event goes; none, and an error, where its key cannot be had."""
    try:
        lane = order.lane(view)
    except ExpressionError as error:
        errors.append((route.name, f"order key: {error}"))
        return None
    if lane is None:
        errors.append((route.name, "order key: it is null, so this goes unordered"))
    return lane
