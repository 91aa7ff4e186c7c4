"""Providers that sign with a private key and publish the public one: the secret in the file is no secret.

A private key as PEM may stand in its place: it verifies as its public half does, and signs, for tests
and for posting what a provider would post.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from relay.errors import UsageError
from relay.signatures import handshakes
from relay.signatures.event_fields import InBatch, InBody
from relay.signatures.keys import BASE64, HEX, Encoding
from relay.signatures.mac.row import Row, Signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PEM: Final = b"-----BEGIN "


class PublicKey:
    """A public key, and the private one where the file has it.

    check   raises InvalidSignature unless the first argument signs the second
    make    signs; None where only the provider can
    """

    __slots__ = ("_check", "_encoding", "_make")

    def __init__(
        self,
        check: Callable[[bytes, bytes], None],
        make: Callable[[bytes], bytes] | None,
        *,
        encoding: Encoding,
    ) -> None:
        self._check = check
        self._make = make
        self._encoding = encoding

    def matches(self, message: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        """Whether one of the candidates is a signature of the message."""
        whole = b"".join(message)
        return any(self._verifies(candidate, whole) for candidate in candidates)

    def _verifies(self, candidate: bytes, message: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - loaded with the key itself

        try:
            self._check(_decoded(candidate, self._encoding), message)
        except (InvalidSignature, ValueError):  # binascii.Error is one
            return False
        return True

    def write(self, message: Sequence[bytes]) -> bytes:
        """Sign the message; UsageError where the private key is the provider's alone."""
        if self._make is None:
            raise UsageError(
                "only the provider holds the key that signs; put a private key of your own (PEM) first"
                " among the secrets to post as it would"
            )
        return self._encoding.write(self._make(b"".join(message)))


def ed25519_key(secret: bytes) -> PublicKey:
    """Read an Ed25519 public key in hex, or a private one as PEM; ValueError if it is neither."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - costs 10 MB, used by few

    if secret.startswith(PEM):
        private = private_key(secret)
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise ValueError("must be an Ed25519 key")
        return PublicKey(private.public_key().verify, private.sign, encoding=HEX)
    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(binascii.unhexlify(secret.strip()))
    except ValueError:
        raise ValueError("must be a public key of 64 hex digits") from None
    return PublicKey(public.verify, None, encoding=HEX)


def ecdsa_key(secret: bytes) -> PublicKey:
    """Read a P-256 public key as base64 of its DER, or a private one as PEM; ValueError if it is neither."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - costs 10 MB, used by few
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    how = ec.ECDSA(hashes.SHA256())
    signer: object = private_key(secret) if secret.startswith(PEM) else None
    try:
        public: object = (
            signer.public_key()
            if isinstance(signer, ec.EllipticCurvePrivateKey)
            else serialization.load_der_public_key(base64.b64decode(secret, validate=True))
        )
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ValueError("must be a P-256 public key as base64")  # noqa: TRY004 - one error for every mistake
    checker = public

    def check(signature: bytes, message: bytes) -> None:
        checker.verify(signature, message, how)

    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        return PublicKey(check, None, encoding=BASE64)
    maker = signer
    return PublicKey(check, lambda message: maker.sign(message, how), encoding=BASE64)


def private_key(pem: bytes) -> PrivateKeyTypes:
    """Read a private key as PEM, without a password; ValueError if it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - costs 10 MB, used by few
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ValueError("must be a private key as PEM, without a password") from None


def _decoded(signature: bytes, encoding: Encoding) -> bytes:
    if encoding is HEX:
        return binascii.unhexlify(signature)
    return base64.b64decode(encoding.fold(signature), validate=True)


DISCORD: Final = Row(
    name="discord",
    about="Discord: X-Signature-Ed25519, by the application's public key; answers PING, once it is verified",
    header=b"x-signature-ed25519",
    signed=Signed.compile("{timestamp}{body}"),
    timestamp_header=b"x-signature-timestamp",
    tolerance=None,
    type_at=(InBody(("event", "type")), InBody(("type",))),
    id_at=(InBody(("id",)),),
    make_key=ed25519_key,
    challenge=handshakes.discord_ping,
)

SENDGRID: Final = Row(
    name="sendgrid",
    about="SendGrid: X-Twilio-Email-Event-Webhook-Signature, by the public key of its settings page",
    header=b"x-twilio-email-event-webhook-signature",
    signed=Signed.compile("{timestamp}{body}"),
    encoding=BASE64,
    timestamp_header=b"x-twilio-email-event-webhook-timestamp",
    tolerance=None,
    type_at=(InBatch(("event",)),),
    id_at=(InBatch(("sg_event_id",)),),
    make_key=ecdsa_key,
)
