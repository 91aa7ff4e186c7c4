"""Parcels on their way to a mailbox or a task queue."""

from __future__ import annotations

from typing import Any

from relay.config import Email
from relay.egress.attempt_input import AttemptInput
from relay.expressions import View
from relay.model import Delivery, Event, Headers, Rendered

JSON: Headers = ((b"content-type", b"application/json"),)


def email_to(port: int, **changes: Any) -> Email:
    """A mailbox behind a server on this machine."""
    values: dict[str, Any] = {
        "to": ("ops@example.com",),
        "sender": "Relay <relay@example.com>",
        "host": "127.0.0.1",
        "port": port,
        "tls": "none",
        "username": None,
        "password": None,
    }
    return Email(**(values | changes))


def parcel_of(
    *,
    body: bytes = b'{"id": 7}',
    headers: Headers = JSON,
    rendered: Rendered | None = None,
    key: str = "dlv_1",
    attempts: int = 1,
    secret_headers: frozenset[bytes] = frozenset(),
    **changes: Any,
) -> AttemptInput:
    """An event of Stripe's on its way; `changes` are the event's."""
    values: dict[str, Any] = {
        "id": "evt_1",
        "source": "stripe",
        "type": "invoice.paid",
        "provider_id": "evt_stripe_1",
        "received_at": 1_700_000_000.0,
        "method": "POST",
        "path": "/stripe",
        "query": b"",
        "headers": headers,
        "body": body,
        "remote": None,
    }
    event = Event(**(values | changes))
    delivery = Delivery(
        id="dlv_1",
        event_id=event.id,
        source=event.source,
        route="all",
        destination="ops-mail",
        key=key,
        created_at=0.0,
        age_from=0.0,
        attempts=attempts,
    )

    def view() -> View:
        raise AssertionError("nobody asks for it")

    return AttemptInput(
        event=event, delivery=delivery, rendered=rendered, secret_headers=secret_headers, view=view
    )
