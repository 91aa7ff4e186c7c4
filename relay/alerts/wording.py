"""What an alert says, and the event and deliveries that say it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from hashlib import sha256

from uuid_utils import uuid7

from relay.alerts.coalescing import WINDOW, Tally
from relay.config import Destination, Email
from relay.expressions import to_json
from relay.journal import Entry
from relay.model import Dedup, Delivery, Event, Headers, Rendered, Standing
from relay.telemetry import ALERT_SOURCE, Kind

ROUTE = "alerts"
"""The name under which alerts are planned, where other deliveries have that of their route."""

_SUBJECTS: Mapping[Kind, str] = {
    "dead": "delivery given up",
    "lagging": "lagging",
    "breaker_open": "breaker open",
    "paused": "paused",
    "source_silent": "silent source",
    "route_error": "route error",
    "rejected": "requests refused",
    "config_rejected": "configuration not taken",
    "disk_low": "disk nearly full",
    "journal_pinned": "journal cannot shrink",
    "journal_rewound": "acknowledged events are gone",
    "ledger": "ledger out of balance",
}


def entry_of(
    tally: Tally, destinations: Iterable[Destination], standings: Mapping[str, Standing], now: float
) -> Entry:
    """The event that tells a tally and a delivery, owned by nobody yet, to each destination."""
    kind, about = tally.notice.kind, tally.notice.about
    body = to_json(
        {
            "text": _text(tally),
            "kind": kind,
            "about": about,
            "count": tally.count,
            "since": _iso(tally.since),
            "last": _iso(tally.last),
        }
    ).encode("utf-8", "replace")
    event = Event(
        id=tally.id,
        source=ALERT_SOURCE,
        type=kind,
        provider_id=None,
        received_at=now,
        method="POST",
        path=f"/{ALERT_SOURCE}",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=body,
        remote=None,
    )
    deliveries = tuple(
        _delivery(event, one, standings.get(one.name) or Standing(name=one.name), now) for one in destinations
    )
    # By this key the nodes of one journal tell of a thing once, and so does one that restarts.
    key = f"{kind} {about}"
    dedup = Dedup(key=key, body_hash=sha256(key.encode()).digest(), expires_at=now + WINDOW)
    return Entry(event=event, deliveries=deliveries, dedup=dedup)


def _delivery(event: Event, destination: Destination, standing: Standing, now: float) -> Delivery:
    delivery_id = f"dlv_{uuid7().hex}"
    return Delivery(
        id=delivery_id,
        event_id=event.id,
        source=event.source,
        route=ROUTE,
        destination=destination.name,
        key=delivery_id,
        created_at=now,
        age_from=standing.time(now),
        due_at=now,
        rendered=letter(event, destination),
    )


def letter(event: Event, destination: Destination) -> Rendered | None:
    """An alert as an email, subject and text; None for other events, and elsewhere, where its JSON goes."""
    if event.source != ALERT_SOURCE or not isinstance(destination.target, Email):
        return None
    told = json.loads(event.body)
    subject = f"Relay: {_SUBJECTS[told['kind']]}"
    if told["about"]:
        subject += f": {told['about']}"
    headers: Headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"subject", _bytes(subject)))
    return Rendered(headers=headers, body=_bytes(f"{told['text']}\n"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _text(tally: Tally) -> str:
    text = tally.notice.text
    return text if tally.count == 1 else f"{text} ({tally.count} times since {_iso(tally.since)})"


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
