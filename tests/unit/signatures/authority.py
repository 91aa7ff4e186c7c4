"""Keys and certificates of providers that sign with what only they hold, made for the tests."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from relay.model import Headers
from relay.signatures.scheme import Outgoing
from relay.signatures.schemes import paypal, sns
from relay.signatures.schemes.paypal import PayPal
from relay.signatures.schemes.sns import Sns
from relay.signatures.timestamps import ISO

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
CERTIFICATES = {SNS_URL: certificate(RSA), PAYPAL_URL: certificate(RSA)}
"""What the providers publish, by its address."""


def signed(message: bytes, *, sha1: bool = False) -> bytes:
    """The signature of the certificate's key, in base64."""
    digest = hashes.SHA1() if sha1 else hashes.SHA256()
    return base64.b64encode(RSA.sign(message, padding.PKCS1v15(), digest))


class SigningPayPal(PayPal):
    """PayPal with a key of the tests' own."""

    def write(self, outgoing: Outgoing) -> Headers:
        """Sign as PayPal does."""
        identity, stamp = outgoing.event_id.encode(), ISO.write(outgoing.now)
        message = paypal.signed_text(identity, stamp, self.webhook_ids[0], outgoing.body)
        return (
            (b"paypal-transmission-id", identity),
            (b"paypal-transmission-time", stamp),
            (b"paypal-cert-url", PAYPAL_URL.encode()),
            (b"paypal-auth-algo", b"SHA256withRSA"),
            (b"paypal-transmission-sig", signed(message)),
        )


class SigningSns(Sns):
    """Amazon SNS with a key of the tests' own."""

    def fill(self, body: bytes, *, now: float, event_id: str) -> bytes:
        """Make a notification of a message, or complete JSON that has a Type, and sign it as SNS does."""
        try:
            given = json.loads(body)
        except ValueError:
            given = None
        shown = {
            "Type": "Notification",
            "MessageId": event_id,
            "TopicArn": self.topics[0],
            "Timestamp": ISO.write(now).decode(),
            "SignatureVersion": "2",
            "SigningCertURL": SNS_URL,
        }
        own = isinstance(given, dict) and "Type" in given
        shown |= given if own else {"Message": body.decode("utf-8", "replace")}
        shown["Signature"] = signed(sns.signed_text(shown), sha1=shown["SignatureVersion"] == "1").decode()
        return json.dumps(shown).encode()
