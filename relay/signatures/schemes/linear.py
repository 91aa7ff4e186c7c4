"""Linear signs the body alone, and the body says when it was sent."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from relay.errors import SignatureError
from relay.expressions.parse import json_value
from relay.model import Headers, Request
from relay.signatures.event_fields import InHeader
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.scheme import HmacScheme, hmac_scheme
from relay.signatures.scheme import Outgoing, Scheme, Verified, traits

_TIME: Final = "webhookTimestamp"  # in milliseconds

LINEAR: Final = Row(
    name="linear",
    about="Linear: Linear-Signature, and webhookTimestamp in the body; 60 s of tolerance",
    header=b"linear-signature",
    signed=Signed.compile("{body}"),
    type_at=(InHeader(b"linear-event", then="action"),),
    id_at=(InHeader(b"linear-delivery"),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear(Scheme):
    """The signature of the body, then the time in it, which may be `tolerance` seconds off either way."""

    inner: HmacScheme = field(repr=False)
    tolerance: float

    def verify(self, request: Request, *, now: float) -> Verified:
        """Check the signature first, so that only Linear's own body is parsed."""
        verified = self.inner.verify(request, now=now)
        sent_at = _time(request.body)
        if sent_at is None:
            raise SignatureError("malformed", f"the body has no {_TIME} in milliseconds")
        away = abs(now - sent_at / 1000)
        if away > self.tolerance:
            raise SignatureError("stale", f"{_TIME} is {away:.0f} s off")
        return verified

    def fill(self, body: bytes, *, now: float, event_id: str) -> bytes:  # noqa: ARG002 - see Scheme
        """Write the time into a body that is a JSON object."""
        try:
            value = json.loads(body)
        except ValueError:
            return body
        if not isinstance(value, dict):
            return body
        return json.dumps({**value, _TIME: int(now * 1000)}, separators=(",", ":")).encode()

    def write(self, outgoing: Outgoing) -> Headers:
        """Sign the body, which `fill` gave the time."""
        return self.inner.write(outgoing)


def linear_scheme(secrets: Sequence[bytes], *, tolerance: float) -> Linear:
    """Build the scheme."""
    inner = hmac_scheme(LINEAR, secrets)
    return Linear(**traits(inner), inner=inner, tolerance=tolerance)


def _time(body: bytes) -> int | None:
    try:
        value = json_value(body)
    except ValueError:
        return None
    found = value.get(_TIME) if isinstance(value, Mapping) else None
    return found if type(found) is int else None
