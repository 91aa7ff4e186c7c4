"""What providers ask before they send events, and what they are answered.

Some answer a stranger's text with a MAC by the key that signs events. Without a look at that text
anyone could have an event signed, so only such as can be no event is taken.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from relay.errors import SignatureError
from relay.model import Request
from relay.signatures.event_fields import Parsed
from relay.signatures.scheme import Answer, match_index, query_value

_CRC_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/=-]{1,1024}", re.ASCII)
"""No event is made of these alone: each is JSON, and begins with a brace."""


@dataclass(frozen=True, slots=True)
class Echo:
    """A parameter of the query is sent back as text, by these methods."""

    parameter: str
    methods: frozenset[str] = frozenset({"GET"})

    def __call__(self, request: Request) -> Answer | None:
        """Answer the parameter's value, decoded."""
        value = query_value(request.query, self.parameter) if request.method in self.methods else None
        return None if value is None else _text(value)


DROPBOX: Final = Echo("challenge")
MICROSOFT_GRAPH: Final = Echo("validationToken", frozenset({"GET", "POST"}))


@dataclass(frozen=True, slots=True)
class MetaGreeting:
    """`hub.challenge` is sent back to whoever knows one of the verify tokens."""

    tokens: tuple[bytes, ...] = field(repr=False)

    def __call__(self, request: Request) -> Answer | None:
        """Answer the challenge; SignatureError for a subscription with another token, or none."""
        mode = query_value(request.query, "hub.mode") if request.method == "GET" else None
        challenge = query_value(request.query, "hub.challenge")
        if mode is None or challenge is None:
            return None
        shown = (query_value(request.query, "hub.verify_token") or "").encode("utf-8", "replace")
        if mode != "subscribe" or match_index(self.tokens, (shown,)) is None:
            raise SignatureError("verify_token", "hub.verify_token is not the one in the file")
        return _text(challenge)


@dataclass(frozen=True, slots=True)
class XGreeting:
    """The CRC of X: a token is answered with its MAC by the first secret."""

    key: bytes = field(repr=False)

    def __call__(self, request: Request) -> Answer | None:
        """Answer the token's MAC; SignatureError for a token that X would not send."""
        token = query_value(request.query, "crc_token") if request.method == "GET" else None
        if token is None:
            return None
        if not _CRC_TOKEN.fullmatch(token):
            raise SignatureError("crc_token", "crc_token has other characters than X uses")
        mac = base64.b64encode(hmac.digest(self.key, token.encode(), hashlib.sha256)).decode()
        return _json({"response_token": f"sha256={mac}"})


@dataclass(frozen=True, slots=True)
class ZoomChallenge:
    """`endpoint.url_validation`: a token is answered with its MAC by the first secret."""

    key: bytes = field(repr=False)

    def __call__(self, request: Request, parsed: Parsed) -> Answer | None:
        """Answer the token and its MAC; 400 for a token with a colon: what Zoom signs begins with `v0:`."""
        if b"endpoint.url_validation" not in request.body:  # saves parsing every event here
            return None
        body = parsed()
        if not isinstance(body, Mapping) or body.get("event") != "endpoint.url_validation":
            return None
        payload = body.get("payload")
        token = payload.get("plainToken") if isinstance(payload, Mapping) else None
        if not isinstance(token, str) or not token or ":" in token:
            return Answer(400, "application/json", b'{"error": "not a plainToken"}')
        mac = hmac.digest(self.key, token.encode("utf-8", "replace"), hashlib.sha256)
        return _json({"plainToken": token, "encryptedToken": mac.hex()})


def discord_ping(request: Request, parsed: Parsed) -> Answer | None:
    """Answer 204 to the PING of webhook events, and `{"type": 1}` to that of interactions."""
    if b'"type"' not in request.body:
        return None
    body = parsed()
    if not isinstance(body, Mapping) or type(body.get("type")) is not int:
        return None
    match body["type"]:
        case 0:
            return Answer(204, "application/json", b"")
        case 1 if "event" not in body:  # with one it is an event, not a PING
            return _json({"type": 1})
        case _:
            return None


def _text(value: str) -> Answer:
    return Answer(200, "text/plain", value.encode("utf-8", "replace"))


def _json(value: Mapping[str, object]) -> Answer:
    return Answer(200, "application/json", json.dumps(value).encode())
