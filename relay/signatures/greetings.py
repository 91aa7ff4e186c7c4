"""What three providers of the table ask before they send events, and what they are answered."""

from __future__ import annotations

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
from relay.signatures.scheme import Answer, query_value

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_OKTA_CHALLENGE: Final = b"x-okta-verification-challenge"
_TWITCH_TYPE: Final = b"twitch-eventsub-message-type"


@dataclass(frozen=True, slots=True)
class LinkedInGreeting:
    """A `challengeCode` is answered with its MAC by the first secret."""

    key: bytes = field(repr=False)

    def __call__(self, request: Request) -> Answer | None:
        """Answer code and MAC; SignatureError for a code that is no UUID: nobody shall have a text signed."""
        code = query_value(request.query, "challengeCode") if request.method == "GET" else None
        if code is None:
            return None
        if not _UUID.fullmatch(code):
            raise SignatureError("challenge_code", "challengeCode is not a UUID, as LinkedIn's are")
        mac = hmac.digest(self.key, code.encode(), hashlib.sha256)
        return _json({"challengeCode": code, "challengeResponse": mac.hex()})


def okta_greeting(request: Request) -> Answer | None:
    """Answer the value of X-Okta-Verification-Challenge."""
    value = request.header(_OKTA_CHALLENGE) if request.method == "GET" else None
    return None if value is None else _json({"verification": value.decode("utf-8", "replace")})


def twitch_challenge(request: Request, parsed: Parsed) -> Answer | None:
    """Answer the challenge of a webhook_callback_verification, which is signed as every event is."""
    if request.header(_TWITCH_TYPE) != b"webhook_callback_verification":
        return None
    body = parsed()
    challenge = body.get("challenge") if isinstance(body, Mapping) else None
    if not isinstance(challenge, str):
        return None
    return Answer(200, "text/plain", challenge.encode("utf-8", "replace"))


def _json(value: Mapping[str, object]) -> Answer:
    return Answer(200, "application/json", json.dumps(value).encode())
