"""What the demo posts, and the configuration that it goes through."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

CONFIG = """\
sources:
  github:
    verify: {scheme: github, secrets: "${DEMO_GITHUB_SECRET}"}
    dedup: 24h
  stripe:
    verify: {scheme: stripe, secrets: "${DEMO_STRIPE_SECRET}"}
  slack:
    verify: {scheme: slack, secrets: "${DEMO_SLACK_SECRET}"}
  standard:
    verify: {scheme: standard-webhooks, secrets: "${DEMO_STANDARD_SECRET}"}

destinations:
  receiver:
    url: ${DEMO_RECEIVER}/events
  chat:
    url: ${DEMO_RECEIVER}/chat

routes:
  - {source: github, to: receiver}
  - name: opened-pull-requests
    source: github
    when: event.type == "pull_request.opened"
    to: chat
    transform:
      json: {text: "Opened: {{ body.pull_request.title }}"}
  - name: invoices
    source: stripe
    when: event.type.startsWith("invoice.")
    to: receiver
  - {source: slack, to: receiver}
  - {source: standard, to: receiver}

defaults:
  destination:
    retry: {first_wait: 250ms, factor: 1.5, jitter: 0}
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One event to post: its source, the type that a header says (if one does), its body."""

    source: str
    title: str
    body: bytes
    event_type: str | None = None


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


SAMPLES = (
    Sample(
        "github",
        "pull_request.opened",
        _json(
            {
                "action": "opened",
                "number": 7,
                "pull_request": {"title": "Count every webhook"},
                "repository": {"full_name": "acme/shop"},
            }
        ),
        event_type="pull_request",
    ),
    Sample(
        "github",
        "push",
        _json({"ref": "refs/heads/main", "repository": {"full_name": "acme/shop"}}),
        event_type="push",
    ),
    Sample(
        "stripe",
        "invoice.paid",
        _json(
            {
                "id": "evt_demo_invoice",
                "object": "event",
                "type": "invoice.paid",
                "data": {"object": {"object": "invoice", "amount_paid": 4200, "currency": "eur"}},
            }
        ),
    ),
    Sample(
        "slack",
        "message",
        _json(
            {
                "type": "event_callback",
                "event_id": "Ev0DEMO",
                "event": {"type": "message", "text": "Hello, Relay"},
            }
        ),
    ),
    Sample(
        "standard",
        "user.created",
        _json({"type": "user.created", "timestamp": "2026-01-31T08:00:00Z", "data": {"name": "Ada"}}),
    ),
)

CHALLENGE = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
HANDSHAKE = Sample("slack", "url_verification", _json({"type": "url_verification", "challenge": CHALLENGE}))


def new_secrets() -> dict[str, str]:
    """Fresh secrets, each in its provider's own shape, as environment variables."""
    return {
        "DEMO_GITHUB_SECRET": secrets.token_hex(20),
        "DEMO_STRIPE_SECRET": f"whsec_{secrets.token_hex(16)}",
        "DEMO_SLACK_SECRET": secrets.token_hex(16),
        "DEMO_STANDARD_SECRET": f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}",
    }
