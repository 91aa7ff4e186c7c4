"""Keys: how a configured secret becomes one, and what it says about a message and its signatures."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from relay.errors import UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PUBLIC_KEY_MARK: Final = b"whpk_"
PRIVATE_KEY_MARK: Final = b"whsk_"
_SEED: Final = 32


class Key(Protocol):
    """One configured secret, ready for use."""

    def matches(self, message: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        """Whether one of the candidates signs the message, given in pieces."""
        ...

    def write(self, message: Sequence[bytes]) -> bytes:
        """Sign the message, as it stands in the header."""
        ...


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a digest is written: `fold` brings what a sender wrote to the one spelling that `write` has."""

    write: Callable[[bytes], bytes]
    fold: Callable[[bytes], bytes]


def _bare(data: bytes) -> bytes:
    return data.rstrip(b"=")


def _padded(data: bytes) -> bytes:
    bare = _bare(data)
    return bare + b"=" * (-len(bare) % 4)


def _write_base64url(digest: bytes) -> bytes:
    return _bare(base64.urlsafe_b64encode(digest))


HEX: Final = Encoding(write=binascii.hexlify, fold=bytes.lower)
BASE64: Final = Encoding(write=base64.b64encode, fold=_padded)
BASE64URL: Final = Encoding(write=_write_base64url, fold=_bare)
ENCODINGS: Final = {"hex": HEX, "base64": BASE64, "base64url": BASE64URL}


class MacKey:
    """An HMAC key; `prefix` stands before the encoded digest."""

    __slots__ = ("_blank", "_encoding", "_prefix")

    def __init__(self, secret: bytes, *, algorithm: str, encoding: Encoding, prefix: bytes = b"") -> None:
        # A copy of a keyed object costs less per request than hmac.digest, which sets up the key anew.
        self._blank = hmac.new(secret, digestmod=algorithm)
        self._encoding = encoding
        self._prefix = prefix

    def _digest(self, message: Sequence[bytes]) -> bytes:
        mac = self._blank.copy()
        for piece in message:
            mac.update(piece)
        return self._encoding.write(mac.digest())

    def matches(self, message: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        """Whether one of the candidates is this key's; all of them are compared."""
        wanted = self._digest(message)
        prefix, fold = self._prefix, self._encoding.fold
        found = False
        for candidate in candidates:
            if candidate.startswith(prefix):
                found |= hmac.compare_digest(wanted, fold(candidate[len(prefix) :]))
        return found

    def write(self, message: Sequence[bytes]) -> bytes:
        """Write the prefix and the encoded digest."""
        return self._prefix + self._digest(message)


class Ed25519Key:
    """The public half of an Ed25519 key: it can verify, and never sign."""

    __slots__ = ("_key", "_prefix")

    def __init__(self, key: Ed25519PublicKey, *, prefix: bytes) -> None:
        self._key = key
        self._prefix = prefix

    def matches(self, message: Sequence[bytes], candidates: Sequence[bytes]) -> bool:
        """Whether one of the candidates is a signature of the message."""
        whole = b"".join(message)
        found = False
        for candidate in candidates:
            if candidate.startswith(self._prefix):
                found |= self._verifies(candidate[len(self._prefix) :], whole)
        return found

    def _verifies(self, encoded: bytes, message: bytes) -> bool:
        # Loaded with the key itself, so that this import only looks the module up.
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - costs 10 MB, used by few

        try:
            self._key.verify(base64.b64decode(_padded(encoded), validate=True), message)
        except (InvalidSignature, binascii.Error):
            return False
        return True

    def write(self, message: Sequence[bytes]) -> bytes:  # noqa: ARG002 - see Key
        """Refuse: whoever holds a public key cannot sign."""
        raise UsageError("the first secret is a public key (whpk_…), which can verify but not sign")


class Ed25519Pair(Ed25519Key):
    """A whole Ed25519 key: it signs, and verifies what it signed."""

    __slots__ = ("_private",)

    def __init__(self, key: Ed25519PrivateKey, *, prefix: bytes) -> None:
        super().__init__(key.public_key(), prefix=prefix)
        self._private = key

    def write(self, message: Sequence[bytes]) -> bytes:
        """Write the prefix and the signature as base64."""
        return self._prefix + base64.b64encode(self._private.sign(b"".join(message)))


def raw(secret: bytes) -> bytes:
    """Take the secret itself as the key."""
    return secret


def from_hex(secret: bytes) -> bytes:
    """Decode a secret that is shown as hex; ValueError if it is none."""
    try:
        key = binascii.unhexlify(secret.strip())
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("must be hex")
    return key


def from_base64(secret: bytes) -> bytes:
    """Decode a secret that is shown as base64, padded or not; ValueError if it is none."""
    try:
        key = base64.b64decode(_padded(secret.strip()), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise ValueError("must be base64")
    return key


def after_whsec(secret: bytes) -> bytes:
    """Decode base64, padded or not, after `whsec_`, after `v1,whsec_` or bare; ValueError if it is none."""
    try:
        return from_base64(secret.removeprefix(b"v1,").removeprefix(b"whsec_"))
    except ValueError:
        raise ValueError("must be base64, with or without whsec_ before it") from None


def ed25519_key(secret: bytes, *, prefix: bytes) -> Ed25519Key:
    """Read the Ed25519 key written as base64 after `whpk_`; ValueError if it is none."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - costs 10 MB, used by few
        Ed25519PublicKey,
    )

    encoded = secret.removeprefix(PUBLIC_KEY_MARK)
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(_padded(encoded), validate=True))
    except ValueError:  # binascii.Error is one, too
        raise ValueError("must be an Ed25519 public key: 32 bytes as base64 after whpk_") from None
    return Ed25519Key(key, prefix=prefix)


def ed25519_pair(secret: bytes, *, prefix: bytes) -> Ed25519Pair:
    """Read the Ed25519 key written as base64 after `whsk_`; ValueError if it is none.

    It is the seed of 32 bytes, maybe with the public key's 32 behind it, as libsodium writes it.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - costs 10 MB, used by few
        Ed25519PrivateKey,
    )

    try:
        data = base64.b64decode(_padded(secret.removeprefix(PRIVATE_KEY_MARK)), validate=True)
        key = Ed25519PrivateKey.from_private_bytes(data[:_SEED])
    except ValueError:  # binascii.Error is one, too
        data, key = b"", None
    if key is None or data[_SEED:] not in {b"", key.public_key().public_bytes_raw()}:
        raise ValueError("must be an Ed25519 private key: 32 or 64 bytes as base64 after whsk_")
    return Ed25519Pair(key, prefix=prefix)
