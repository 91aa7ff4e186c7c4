"""The row of Standard Webhooks, on which other rows and schemes are built."""

from __future__ import annotations

from typing import Final

from relay.signatures.event_fields import InBody, InHeader
from relay.signatures.keys import BASE64, after_whsec
from relay.signatures.mac.header_layout import Listed
from relay.signatures.mac.row import Row, Signed

STANDARD_WEBHOOKS: Final = Row(
    name="standard-webhooks",
    about="Standard Webhooks: webhook-id, -timestamp and -signature, HMAC (v1) or Ed25519 (v1a)",
    header=b"webhook-signature",
    signed=Signed.compile("{id}.{timestamp}.{body}"),
    encoding=BASE64,
    prefix=b"v1,",
    ed25519=b"v1a,",
    form=Listed(),
    timestamp_header=b"webhook-timestamp",
    id_header=b"webhook-id",
    type_at=(InBody(("type",)),),
    id_at=(InHeader(b"webhook-id"),),
    decode_key=after_whsec,
)
