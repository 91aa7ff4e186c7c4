"""Standard Webhooks, Svix, GitHub, Stripe, Slack and Shopify: one row each.

Sources of the rows: each provider's page on verifying its webhooks, and its own Python library,
with which the tests sign and verify.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from relay.model import Request
from relay.signatures.event_fields import InBody, InHeader, Parsed
from relay.signatures.keys import BASE64
from relay.signatures.mac.header_layout import Fields
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.standard_webhooks import STANDARD_WEBHOOKS
from relay.signatures.scheme import MIB, Answer


def _url_verification(request: Request, parsed: Parsed) -> Answer | None:
    if b"url_verification" not in request.body:  # saves parsing every other event here
        return None
    body = parsed()
    if not isinstance(body, Mapping) or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    if not isinstance(challenge, str):
        return None
    return Answer(200, "application/json", json.dumps({"challenge": challenge}).encode())


ROWS: Final = (
    STANDARD_WEBHOOKS,
    replace(
        STANDARD_WEBHOOKS,
        name="svix",
        about="Svix: as standard-webhooks, with svix- headers",
        header=b"svix-signature",
        timestamp_header=b"svix-timestamp",
        id_header=b"svix-id",
        id_at=(InHeader(b"svix-id"),),
    ),
    Row(
        name="github",
        about="GitHub, Gitea and Forgejo: X-Hub-Signature-256",
        header=b"x-hub-signature-256",
        signed=Signed.compile("{body}"),
        prefix=b"sha256=",
        type_at=(InHeader(b"x-github-event", then="action"),),
        id_at=(InHeader(b"x-github-delivery"),),
        max_body=25 * MIB,
        other_macs=frozenset(
            {b"x-hub-signature", b"x-gitea-signature", b"x-gogs-signature", b"x-forgejo-signature"}
        ),
    ),
    Row(
        name="stripe",
        about="Stripe: Stripe-Signature, its v1 signatures",
        header=b"stripe-signature",
        signed=Signed.compile("{timestamp}.{body}"),
        prefix=b"v1=",
        form=Fields(),
        type_at=(InBody(("type",)),),
        id_at=(InBody(("id",)),),
    ),
    Row(
        name="slack",
        about="Slack: X-Slack-Signature; answers url_verification, once it is verified",
        header=b"x-slack-signature",
        signed=Signed.compile("v0:{timestamp}:{body}"),
        prefix=b"v0=",
        timestamp_header=b"x-slack-request-timestamp",
        type_at=(InBody(("event", "type")), InBody(("type",)), InBody(("command",))),
        id_at=(InBody(("event_id",)),),
        forms=True,
        challenge=_url_verification,
    ),
    Row(
        name="shopify",
        about="Shopify: X-Shopify-Hmac-SHA256",
        header=b"x-shopify-hmac-sha256",
        signed=Signed.compile("{body}"),
        encoding=BASE64,
        type_at=(InHeader(b"x-shopify-topic"),),
        id_at=(InHeader(b"x-shopify-webhook-id"),),
    ),
)
