"""PayPal signs a checksum of the body by a certificate that it publishes."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.event_fields import InBody, InHeader
from relay.signatures.scheme import Outgoing, Scheme, Verified
from relay.signatures.schemes import certificates
from relay.signatures.timestamps import ISO

_ID: Final = b"paypal-transmission-id"
_TIME: Final = b"paypal-transmission-time"
_SIGNATURE: Final = b"paypal-transmission-sig"
_CERTIFICATE: Final = b"paypal-cert-url"
# The whole address, so that no user, port, dot or query can lead elsewhere.
_PINNED: Final = re.compile(
    r"https://api\.(?:sandbox\.)?paypal\.com/v1/notifications/certs/[A-Za-z0-9_-]{1,200}", re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PayPal(Scheme):
    """The ids of the webhooks are part of what is signed; the header that names the digest is not trusted."""

    webhook_ids: tuple[str, ...]
    tolerance: float | None

    def documents(self, request: Request) -> tuple[str, ...]:
        """Name the certificate, if it is where PayPal's are."""
        url = _needed(request, _CERTIFICATE).decode("latin-1")
        if not _PINNED.fullmatch(url):
            raise SignatureError("certificate", "paypal-cert-url is not an address of PayPal's certificates")
        return (url,)

    def verify(self, request: Request, *, now: float) -> Verified:
        """Refuse: nothing can be said without the certificate."""
        return self.verify_with(request, now=now, documents={})

    def verify_with(self, request: Request, *, now: float, documents: Mapping[str, bytes]) -> Verified:
        """Check the signature for every webhook id, and the time's age if that is wanted."""
        (url,) = self.documents(request)
        signature = _needed(request, _SIGNATURE)
        identity, stamp = _needed(request, _ID), _needed(request, _TIME)
        away = abs(now - ISO.read(stamp))
        found: int | None = None
        for index, webhook_id in enumerate(self.webhook_ids):
            message = signed_text(identity, stamp, webhook_id, request.body)
            try:
                certificates.check(documents.get(url, b""), signature=signature, message=message, now=now)
            except SignatureError as error:
                if error.reason != "mismatch":
                    raise
            else:
                found = index if found is None else found
        if found is None:
            raise SignatureError("mismatch", "not signed for one of the webhook ids")
        if self.tolerance is not None and away > self.tolerance:
            raise SignatureError("stale", f"paypal-transmission-time is {away:.0f} s off")
        return Verified(found)

    def write(self, outgoing: Outgoing) -> Headers:  # noqa: ARG002 - see Scheme
        """Raise UsageError: only PayPal can sign."""
        certificates.refuse_to_sign("PayPal")


def paypal_scheme(webhook_ids: Sequence[str], *, tolerance: float | None) -> PayPal:
    """Build the scheme for the ids under which the webhooks are registered."""
    return PayPal(
        name="paypal",
        experimental=True,
        mac_headers=frozenset({_SIGNATURE}),
        type_at=(InBody(("event_type",)),),
        id_at=(InBody(("id",)), InHeader(_ID)),
        webhook_ids=tuple(webhook_ids),
        tolerance=tolerance,
    )


def signed_text(identity: bytes, stamp: bytes, webhook_id: str, body: bytes) -> bytes:
    """What the signature is made of."""
    return b"%b|%b|%b|%d" % (identity, stamp, webhook_id.encode(), zlib.crc32(body))


def _needed(request: Request, name: bytes) -> bytes:
    value = request.header(name)
    if not value:
        raise SignatureError("missing", f"no {name.decode()}")
    return value
