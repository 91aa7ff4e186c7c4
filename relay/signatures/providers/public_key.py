"""Providers of the table that sign with a private key: the secret in the file is the public one they show.

Sources as those of body_signers. A private key as PEM may stand in its place, to sign as the provider does.
"""

from __future__ import annotations

import base64
import re
from typing import Final

from relay.signatures.event_fields import InBody, InHeader
from relay.signatures.keys import BASE64
from relay.signatures.providers.provider import Provider, mac
from relay.signatures.schemes.public_key import PublicKey, private_key

_ARMOUR: Final = re.compile(rb"-----[A-Z ]+-----|\s")


def ed25519_base64_key(secret: bytes) -> PublicKey:
    """Read an Ed25519 public key as base64, or a private one as PEM; ValueError if it is neither."""
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - costs 10 MB, used by few

    if b"PRIVATE KEY" in secret:
        private = private_key(secret)
        if not isinstance(private, ed25519.Ed25519PrivateKey):
            raise ValueError("must be an Ed25519 key")
        return PublicKey(private.public_key().verify, private.sign, encoding=BASE64)
    try:
        public = ed25519.Ed25519PublicKey.from_public_bytes(base64.b64decode(secret.strip(), validate=True))
    except ValueError:  # binascii.Error is one, too
        raise ValueError("must be an Ed25519 public key: 32 bytes as base64") from None
    return PublicKey(public.verify, None, encoding=BASE64)


def rsa_key(secret: bytes) -> PublicKey:
    """Read an RSA public key as PEM, with or without its first and last line, or a private one as PEM."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - costs 10 MB, used by few
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import padding, rsa  # noqa: PLC0415

    how = padding.PKCS1v15(), hashes.SHA256()
    private = private_key(secret) if b"PRIVATE KEY" in secret else None
    if isinstance(private, rsa.RSAPrivateKey):
        signer, checker = private, private.public_key()
        return PublicKey(
            lambda signature, message: checker.verify(signature, message, *how),
            lambda message: signer.sign(message, *how),
            encoding=BASE64,
        )
    try:
        public = serialization.load_der_public_key(base64.b64decode(_ARMOUR.sub(b"", secret), validate=True))
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, rsa.RSAPublicKey):
        raise ValueError("must be an RSA public key as PEM")  # noqa: TRY004 - one error for every mistake
    known = public
    return PublicKey(lambda signature, message: known.verify(signature, message, *how), None, encoding=BASE64)


PUBLIC_SIGNERS: Final[tuple[Provider, ...]] = (
    mac(
        "telnyx",
        "Telnyx",
        "Telnyx-Signature-Ed25519",
        "{timestamp}|{body}",
        note="by its public key",
        make_key=ed25519_base64_key,
        encoding=BASE64,
        timestamp_header=b"telnyx-timestamp",
        tolerance=None,
        type_at=(InBody(("data", "event_type")),),
        id_at=(InBody(("data", "id")),),
    ),
    mac(
        "wise",
        "Wise",
        "X-Signature-SHA256",
        note="by its public key, of which the sandbox has another",
        confirmed_by="transferwise/digital-signatures-examples, with the key of the sandbox",
        make_key=rsa_key,
        encoding=BASE64,
        other_macs=frozenset({b"x-signature"}),
        type_at=(InBody(("event_type",)),),
        id_at=(InHeader(b"x-delivery-id"),),
    ),
)
