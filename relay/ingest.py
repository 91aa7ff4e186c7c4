"""Accept one request: verify, identify, plan, append to the journal, and say what to answer.

Nothing here waits for a downstream. When `accept` returns, the event is on disk; what is left to do
is in the receipt: the deliveries that this process already owns and should try at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from uuid_utils import uuid7

from relay.clock import Clock
from relay.config import Configuration, Source
from relay.dispatch import Dispatcher
from relay.errors import ExpressionError, RequestRefused, SignatureError
from relay.expressions import View
from relay.journal import Entry, Journal, Receipt
from relay.model import Dedup, Delivery, Event, EventState, Headers, Request
from relay.routing import Match, match
from relay.signatures import Answer, Verified, query_name
from relay.telemetry import Telemetry

_CREDENTIALS = frozenset({b"authorization", b"cookie", b"proxy-authorization"})
"""Headers that carry a secret whatever the scheme: they are never stored."""

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


class Ingest:
    """Takes requests for the configured sources; one instance per process."""

    def __init__(
        self,
        *,
        configuration: Configuration,
        journal: Journal,
        dispatcher: Dispatcher,
        telemetry: Telemetry,
        clock: Clock,
        max_backlog: int = 0,
    ) -> None:
        self._configuration = configuration
        self._journal = journal
        self._dispatcher = dispatcher
        self._telemetry = telemetry
        self._clock = clock
        self._max_backlog = max_backlog

    async def accept(
        self, source: Source, placeholders: Mapping[str, str], request: Request, *, wall: float
    ) -> Accepted | Answer:
        """Take one request for `source`; `wall` is the wall clock, by which signatures are dated.

        Raises RequestRefused (401 and what the journal's state asks for) and JournalUnavailable.
        """
        verified = self._verify(source, request, wall)
        event_id = f"evt_{uuid7().hex}"
        kept = replace(
            request,
            query=_without_secret_query(request.query, source.scheme.secret_query),
            headers=_without_secrets(request.headers, source.scheme.secret_headers),
        )
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
            self._telemetry.handshake_answered(source=source.name)
            return answer
        identity = source.scheme.identify(request, lambda: view.parsed)
        view.type, view.provider_id = identity.type, identity.provider_id
        matched = match(self._configuration.routes.get(source.name, ()), view)
        event = _event(event_id, source, view, kept, matched)
        return await self._append(source, event, view, matched, verified)

    def _verify(self, source: Source, request: Request, wall: float) -> Verified:
        if self._max_backlog and sum(self._journal.backlogs().values()) >= self._max_backlog:
            raise RequestRefused(503, "backlog_full", retry_after=_BACKLOG_RETRY_AFTER)
        try:
            return source.scheme.verify(request, now=wall)
        except SignatureError as error:
            raise RequestRefused(401, f"signature_{error.reason}") from error

    async def _append(
        self, source: Source, event: Event, view: View, matched: Match, verified: Verified
    ) -> Accepted:
        now = self._clock.now()
        deliveries = self._plan(event, matched, now)
        owned = tuple(d for d in deliveries if d.owner is not None)
        entry = Entry(event=event, deliveries=deliveries, dedup=_dedup(source, view, event, now))
        stored = False
        try:
            receipt = await self._journal.append(entry)
            stored = receipt.kind == "stored"
        finally:
            if not stored:
                for delivery in owned:
                    self._dispatcher.unreserve(delivery.destination)
        if stored:
            for delivery in deliveries:
                if delivery.owner is None:
                    self._dispatcher.nudge(delivery.destination)
        for destination in receipt.revived:
            self._dispatcher.nudge(destination)
        self._tell(event, view, matched, receipt=receipt, verified=verified, deliveries=len(deliveries))
        return Accepted(event, receipt, owned if stored else ())

    def _plan(self, event: Event, matched: Match, now: float) -> tuple[Delivery, ...]:
        """One delivery for each destination of each route that matched, owned where a slot is free."""
        planned = []
        for route in matched.routes:
            for destination in route.to:
                delivery_id = f"dlv_{uuid7().hex}"
                owned = self._dispatcher.reserve(destination)
                planned.append(
                    Delivery(
                        id=delivery_id,
                        event_id=event.id,
                        source=event.source,
                        route=route.name,
                        destination=destination,
                        key=delivery_id,
                        created_at=now,
                        age_from=now,
                        due_at=now,
                        owner=self._journal.node if owned else None,
                        fence=1 if owned else 0,
                        attempts=1 if owned else 0,
                        transform=route.transform is not None,
                    )
                )
        return tuple(planned)

    def _tell(
        self,
        event: Event,
        view: View,
        matched: Match,
        *,
        receipt: Receipt,
        verified: Verified,
        deliveries: int,
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
                deliveries=deliveries,
                secret_index=verified.secret_index,
                duration=duration,
                unparsed=unparsed,
            )


def _event(event_id: str, source: Source, view: View, request: Request, matched: Match) -> Event:
    reason = None
    if not matched.routes:
        reason = "route_error" if matched.errors else "no_match"
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
    if rule.key is None:
        key = event.provider_id
    else:
        try:
            value = rule.key.evaluate(view)
        except ExpressionError:
            return None
        key = None if value is None else str(value)
    if not key:
        return None
    digest = hashlib.sha256(event.body).digest()
    return Dedup(key=key, body_hash=digest, expires_at=now + rule.window)


def _without_secrets(headers: Headers, secret: frozenset[bytes]) -> Headers:
    if all(name not in _CREDENTIALS and name not in secret for name, _ in headers):
        return headers
    return tuple(pair for pair in headers if pair[0] not in _CREDENTIALS and pair[0] not in secret)


def _without_secret_query(query: bytes, secret: frozenset[str]) -> bytes:
    if not secret or not query:
        return query
    return b"&".join(pair for pair in query.split(b"&") if query_name(pair) not in secret)
