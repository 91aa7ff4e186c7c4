"""Rows of the HMAC table that come with a handshake, a second spelling or a time in the body.

Sources: each provider's page on securing its webhooks, and for Linear, Paddle and Square their own
libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from relay.signatures import handshakes
from relay.signatures.event_fields import InBody, InHeader
from relay.signatures.keys import BASE64
from relay.signatures.mac.header_layout import Fields
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.scheme import HmacScheme, hmac_scheme

_BODY: Final = Signed.compile("{body}")

SENDERS: Final = (
    Row(
        name="bitbucket",
        about="Bitbucket: X-Hub-Signature",
        header=b"x-hub-signature",
        signed=_BODY,
        prefix=b"sha256=",
        type_at=(InHeader(b"x-event-key"),),
        id_at=(InHeader(b"x-request-uuid"),),
    ),
    Row(
        name="paddle",
        about="Paddle: Paddle-Signature, its h1 signatures; 5 s of tolerance",
        header=b"paddle-signature",
        signed=Signed.compile("{timestamp}:{body}"),
        prefix=b"h1=",
        form=Fields(time=b"ts=", separator=b";"),
        tolerance=5.0,
        type_at=(InBody(("event_type",)),),
        id_at=(InBody(("event_id",)),),
    ),
    Row(
        name="square",
        about="Square: X-Square-HmacSha256-Signature over the URL and the body",
        header=b"x-square-hmacsha256-signature",
        signed=Signed.compile("{url}{body}"),
        encoding=BASE64,
        type_at=(InBody(("type",)),),
        id_at=(InBody(("event_id",)),),
    ),
    Row(
        name="intercom",
        about="Intercom: X-Hub-Signature, HMAC-SHA1",
        header=b"x-hub-signature",
        signed=_BODY,
        algorithm="sha1",
        prefix=b"sha1=",
        type_at=(InBody(("topic",)),),
        id_at=(InBody(("id",)),),
    ),
    Row(
        name="typeform",
        about="Typeform: Typeform-Signature",
        header=b"typeform-signature",
        signed=_BODY,
        encoding=BASE64,
        prefix=b"sha256=",
        type_at=(InBody(("event_type",)),),
        id_at=(InBody(("event_id",)),),
    ),
    Row(
        name="dropbox",
        about="Dropbox: X-Dropbox-Signature; answers the challenge",
        header=b"x-dropbox-signature",
        signed=_BODY,
        greeting=handshakes.DROPBOX,
    ),
)
"""Rows that need nothing but their secrets."""

ZOOM: Final = Row(
    name="zoom",
    about="Zoom: X-Zm-Signature; answers endpoint.url_validation, once it is verified",
    header=b"x-zm-signature",
    signed=Signed.compile("v0:{timestamp}:{body}"),
    prefix=b"v0=",
    timestamp_header=b"x-zm-request-timestamp",
    type_at=(InBody(("event",)),),
)

META: Final = Row(
    name="meta",
    about="Meta (Facebook, Instagram, WhatsApp): X-Hub-Signature-256; answers hub.challenge",
    header=b"x-hub-signature-256",
    signed=_BODY,
    prefix=b"sha256=",
    other_macs=frozenset({b"x-hub-signature"}),
    type_at=(InBody(("object",)),),
)

X: Final = Row(
    name="x",
    about="X, formerly Twitter: X-Twitter-Webhooks-Signature; answers the CRC",
    header=b"x-twitter-webhooks-signature",
    signed=_BODY,
    encoding=BASE64,
    prefix=b"sha256=",
)


def zoom_scheme(secrets: Sequence[bytes], *, tolerance: float) -> HmacScheme:
    """Build the scheme with its handshake."""
    made = hmac_scheme(ZOOM, secrets, tolerance=tolerance)
    return replace(made, challenge=handshakes.ZoomChallenge(secrets[0]))


def meta_scheme(secrets: Sequence[bytes], *, verify_token: Sequence[bytes] | None) -> HmacScheme:
    """Build the scheme; without a verify token its handshake is refused as any GET is."""
    made = hmac_scheme(META, secrets)
    if verify_token is None:
        return made
    return replace(
        made,
        greeting=handshakes.MetaGreeting(tuple(verify_token)),
        secret_query=frozenset({"hub.verify_token"}),
    )


def x_scheme(secrets: Sequence[bytes]) -> HmacScheme:
    """Build the scheme with its handshake."""
    return replace(hmac_scheme(X, secrets), greeting=handshakes.XGreeting(secrets[0]))
