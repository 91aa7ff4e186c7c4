"""Certificate files: read when the file loads, and each bad one a mistake at its place."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from tests.unit.config.conftest import Load, Mistakes, http_of

SOURCE = "sources: {a: {verify: none}}\n"


def _certificate(key: EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "relay")])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(Encoding.PEM)


def _key(key: EllipticCurvePrivateKey, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a certificate, its key, both in one file, another's key, and no certificate at all."""
    key, other = generate_private_key(SECP256R1()), generate_private_key(SECP256R1())
    certificate = _certificate(key)
    (tmp_path / "cert.pem").write_bytes(certificate)
    (tmp_path / "key.pem").write_bytes(_key(key))
    (tmp_path / "both.pem").write_bytes(_key(key) + certificate)
    (tmp_path / "other.pem").write_bytes(_key(other))
    (tmp_path / "locked.pem").write_bytes(_key(key, BestAvailableEncryption(b"sekrit")))
    (tmp_path / "junk.pem").write_bytes(b"\xff-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


def _text(tls: str) -> str:
    return f"{SOURCE}destinations:\n  d: {{url: 'https://d/', tls: {tls}}}\n"


@pytest.mark.parametrize("tls", ["{cert: cert.pem, key: key.pem}", "{cert: both.pem}"])
def test_client_certificate(load: Load, files: Path, tls: str) -> None:
    """With a certificate of Relay's own, the server is still verified by the machine's certificates."""
    context = http_of(load(_text(tls)).destinations["d"]).tls
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_authority(load: Load, files: Path) -> None:
    """An authority of one's own stands in place of the machine's."""
    loaded = load(_text("{ca: '${CA}'}"), {"CA": "cert.pem"})
    context = http_of(loaded.destinations["d"]).tls
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    assert loaded.files[-1] == files / "cert.pem"


def test_one_context_for_the_same_files(load: Load, files: Path) -> None:
    """Destinations that share their defaults share the context."""
    loaded = load(
        f"{SOURCE}destinations: {{d: {{url: 'https://d/'}}, e: {{url: 'https://e/'}}, f: {{url: 'http://f/'}}}}\n"
        "defaults: {destination: {tls: {ca: cert.pem}}}\n"
    )
    contexts = [http_of(each).tls for each in loaded.destinations.values()]
    assert contexts[0] is contexts[1]
    assert contexts[0] is not None
    assert contexts[2] is None


def test_a_new_certificate_changes_the_fingerprint(load: Load, files: Path) -> None:
    """A file that was renewed is taken at the next reload."""
    before = load(_text("{ca: cert.pem}"))
    (files / "cert.pem").write_bytes(_certificate(generate_private_key(SECP256R1())))
    after = load(_text("{ca: cert.pem}"))
    assert before.digest == after.digest
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("tls", "marked", "expected"),
    [
        ("{}", "{}", "expected `ca`, or `cert` and `key`"),
        ("ca.pem", "ca.pem", "expected a mapping"),
        ("{key: key.pem}", "key.pem", "a `key` goes with its `cert`"),
        ("{ca: none.pem}", "none.pem", 'the file "none.pem" cannot be read: No such file'),
        ("{ca: folder}", "folder", 'the file "folder" cannot be read: Is a directory'),
        ("{ca: key.pem}", "key.pem", 'the file "key.pem" has no certificate in PEM'),
        ("{ca: junk.pem}", "junk.pem", "has no certificate in PEM"),
        ("{ca: ''}", "''", "expected text, found nothing"),
        ("{cert: cert.pem}", "cert.pem", "has no private key in PEM: name its file in `key`"),
        ("{cert: cert.pem, key: cert.pem}", "cert.pem}", "has no private key in PEM"),
        ("{cert: cert.pem, key: other.pem}", "other.pem", "has the key of another certificate than `cert`"),
        ("{cert: cert.pem, key: locked.pem}", "locked.pem", "has a key with a passphrase"),
        ("{cert: key.pem, key: key.pem}", "key.pem,", "has no certificate in PEM"),
        ("{cart: cert.pem}", "cart", 'unknown key; did you mean "cert"?'),
    ],
)
def test_bad_files(mistakes: Mistakes, files: Path, tls: str, marked: str, expected: str) -> None:
    """What OpenSSL would say at the first delivery is said when the file loads, with the key at fault."""
    text = _text(tls)
    found = [line for line in mistakes(text) if "cart" in marked or "cart" not in line]
    assert any(expected in line for line in found)
    column = text.splitlines()[2].index(marked) + 1
    assert any(line.startswith(f"3:{column}: destinations.d.tls") for line in found)


def test_files_that_may_be_missing(load: Load, tmp_path: Path) -> None:
    """With `allow_unset`, certificates need not be there, as in CI."""
    loaded = load(_text("{ca: none.pem, cert: '${C}', key: '${K}'}"), allow_unset=True)
    assert http_of(loaded.destinations["d"]).tls is None
