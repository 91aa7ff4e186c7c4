"""HubSpot's third signature; its first two are no MACs, and are refused by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import unquote

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.event_fields import InBatch
from relay.signatures.keys import BASE64
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.scheme import HmacScheme, hmac_scheme
from relay.signatures.scheme import Outgoing, Scheme, Verified, traits
from relay.signatures.timestamps import MILLISECONDS

_OLDER: Final = b"x-hubspot-signature"
# The escapes that HubSpot's page has one undo before the URL is signed; all others stay.
_UNDONE: Final = re.compile(r"%(?:3A|2F|3F|40|21|24|27|28|29|2A|2C|3B)", re.IGNORECASE)

HUBSPOT: Final = Row(
    name="hubspot",
    about="HubSpot: X-HubSpot-Signature-v3 over method, URL, body and time",
    header=b"x-hubspot-signature-v3",
    signed=Signed.compile("{method}{url}{body}{timestamp}"),
    encoding=BASE64,
    timestamp_header=b"x-hubspot-request-timestamp",
    unit=MILLISECONDS,
    other_macs=frozenset({b"x-hubspot-signature"}),
    # A batch has no id of its own; that of its only event is one.
    type_at=(InBatch(("subscriptionType",)),),
    id_at=(InBatch(("eventId",)),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSpot(Scheme):
    """The URL is tried as it came, and with HubSpot's own list of escapes undone."""

    inner: HmacScheme = field(repr=False)

    def verify(self, request: Request, *, now: float) -> Verified:
        """Check the signature of version 3, and name the older ones as what is wrong."""
        if request.header(HUBSPOT.header) is None and request.header(_OLDER) is not None:
            raise SignatureError("unsupported", "signed by version 1 or 2 only: subscribe with version 3")
        try:
            return self.inner.verify(request, now=now)
        except SignatureError as error:
            undone = _UNDONE.sub(lambda found: unquote(found[0]), request.url)
            if error.reason != "mismatch" or undone == request.url:
                raise
        return self.inner.verify(replace(request, url=undone), now=now)

    def write(self, outgoing: Outgoing) -> Headers:
        """Sign with the escapes undone, as HubSpot does."""
        url = _UNDONE.sub(lambda found: unquote(found[0]), outgoing.url)
        return self.inner.write(replace(outgoing, url=url))


def hubspot_scheme(secrets: Sequence[bytes], *, tolerance: float) -> HubSpot:
    """Build the scheme for the client secrets of an app."""
    inner = hmac_scheme(HUBSPOT, secrets, tolerance=tolerance)
    return HubSpot(**traits(inner), inner=inner)
