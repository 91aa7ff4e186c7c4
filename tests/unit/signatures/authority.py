"""Keys and certificates of providers that sign with what only they hold, made for the tests."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from relay.signatures.certificates import Signer

SNS_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem"
PAYPAL_URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
_BEGIN, _END = datetime(2023, 1, 1, tzinfo=UTC), datetime(2043, 1, 1, tzinfo=UTC)


def certificate(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, end: datetime = _END) -> bytes:
    """A certificate of this key by itself, as PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, _BEGIN, end)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def pem(key: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def ed25519_pem() -> bytes:
    """A new Ed25519 key."""
    return pem(ed25519.Ed25519PrivateKey.generate())


def ec_pem() -> bytes:
    """A new P-256 key."""
    return pem(ec.generate_private_key(ec.SECP256R1()))


RSA = rsa.generate_private_key(65537, 2048)
SNS = Signer(RSA, SNS_URL)
PAYPAL = Signer(RSA, PAYPAL_URL)
CERTIFICATES = {SNS_URL: certificate(RSA), PAYPAL_URL: certificate(RSA)}
"""What the providers publish, by its address."""
