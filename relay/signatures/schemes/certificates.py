"""RSA signatures by a certificate that the request names and its provider publishes.

The host that may publish it is pinned, and it is fetched by https alone, so that the chain need not
be followed: whoever could put a certificate there could as well put one with a good chain.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from relay.errors import SignatureError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256


def refuse_to_sign(provider: str) -> NoReturn:
    """Raise UsageError: nobody but the provider can make a signature that its certificate verifies."""
    raise UsageError(f"only {provider} holds the key that signs its events: they cannot be sent from here")


def check(certificate: bytes, *, signature: bytes, message: bytes, now: float, sha1: bool = False) -> None:
    """Verify an RSA signature (PKCS #1 v1.5) in base64; SignatureError where it or the certificate is bad."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - costs 10 MB, used by few
    from cryptography.hazmat.primitives.asymmetric import padding  # noqa: PLC0415

    key = _key(certificate, now)
    try:
        key.verify(
            base64.b64decode(signature, validate=True), message, padding.PKCS1v15(), _digest(sha1=sha1)()
        )
    except binascii.Error:
        raise SignatureError("malformed", "the signature is not base64") from None
    except InvalidSignature:
        raise SignatureError("mismatch", "the certificate's key did not make this signature") from None


def _key(certificate: bytes, now: float) -> RSAPublicKey:
    from cryptography import x509  # noqa: PLC0415 - costs 10 MB, used by few
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    try:
        read = x509.load_pem_x509_certificate(certificate)
        key = read.public_key()
    except Exception as error:  # the parser names no error of its own for half of what it refuses
        raise SignatureError("unreadable", "what is published is no certificate") from error
    if not isinstance(key, RSAPublicKey):
        raise SignatureError("certificate", "the certificate's key is not RSA")
    if not read.not_valid_before_utc.timestamp() <= now <= read.not_valid_after_utc.timestamp():
        raise SignatureError("certificate", "the certificate is not valid now")
    return key


def _digest(*, sha1: bool) -> Callable[[], SHA1 | SHA256]:
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256  # noqa: PLC0415 - costs 10 MB

    return SHA1 if sha1 else SHA256
