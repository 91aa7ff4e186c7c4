"""Mailgun signs a time and a token, which stand in the body with their signature; the rest is not signed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from relay.errors import SignatureError
from relay.expressions.parse import form_value, json_value
from relay.model import Headers, Request
from relay.signatures.event_fields import InBody
from relay.signatures.keys import HEX, MacKey
from relay.signatures.mac.scheme import identity_headers
from relay.signatures.scheme import Outgoing, Scheme, Verified
from relay.signatures.timestamps import SECONDS

_FORM: Final = b"application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailgun(Scheme):
    """JSON has the three under `signature`; the form of older accounts has them among its fields."""

    keys: tuple[MacKey, ...] = field(repr=False)
    tolerance: float | None

    def verify(self, request: Request, *, now: float) -> Verified:
        """Compare the signatures, of the account and of its parent, with every key."""
        shown = _signature(request)
        stamp, token = _text(shown, "timestamp"), _text(shown, "token")
        candidates = [_text(shown, "signature")]
        if shown.get("parent-signature"):
            candidates.append(_text(shown, "parent-signature"))
        found: int | None = None
        for index, key in enumerate(self.keys):
            if key.matches((stamp, token), candidates) and found is None:
                found = index
        if found is None:
            raise SignatureError("mismatch", "no secret made the signature in the body")
        away = abs(now - SECONDS.read(stamp))
        if self.tolerance is not None and away > self.tolerance:
            raise SignatureError("stale", f"the timestamp is {away:.0f} s off")
        return Verified(found)

    def fill(self, body: bytes, *, now: float, event_id: str) -> bytes:
        """Write time, token and signature into a body that is a JSON object."""
        try:
            value = json.loads(body)
        except ValueError:
            return body
        if not isinstance(value, dict):
            return body
        stamp = SECONDS.write(now)
        token = hashlib.sha256(event_id.encode()).hexdigest()[:50].encode()
        signature = {
            "timestamp": stamp.decode(),
            "token": token.decode(),
            "signature": self.keys[0].write((stamp, token)).decode(),
        }
        return json.dumps({**value, "signature": signature}, separators=(",", ":")).encode()

    def write(self, outgoing: Outgoing) -> Headers:
        """No header signs: see `fill`."""
        return tuple(identity_headers(self, outgoing).items())


def mailgun_scheme(secrets: Sequence[bytes], *, tolerance: float | None) -> Mailgun:
    """Build the scheme for webhook signing keys."""
    return Mailgun(
        name="mailgun",
        type_at=(InBody(("event-data", "event")), InBody(("event",))),
        # As the body is not signed, the token is all that tells a second posting from a first.
        id_at=(InBody(("signature", "token")), InBody(("token",))),
        keys=tuple(MacKey(secret, algorithm="sha256", encoding=HEX) for secret in secrets),
        tolerance=tolerance,
    )


def _signature(request: Request) -> Mapping[str, object]:
    """Find what holds timestamp, token and signature."""
    kind = (request.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    try:
        body = form_value(request.body) if kind == _FORM else json_value(request.body)
    except ValueError:
        raise SignatureError("malformed", "the body is neither JSON nor a form") from None
    found: object = body
    if kind != _FORM:
        found = body.get("signature") if isinstance(body, Mapping) else None
    if not isinstance(found, Mapping) or "signature" not in found:
        raise SignatureError("missing", "no signature in the body")
    return found


def _text(shown: Mapping[str, object], name: str) -> bytes:
    value = shown.get(name)
    if type(value) is int:  # some senders write the time as a number
        return b"%d" % value
    if not isinstance(value, str) or not value:
        raise SignatureError("malformed", f"the signature in the body has no {name}")
    return value.encode("utf-8", "replace")
