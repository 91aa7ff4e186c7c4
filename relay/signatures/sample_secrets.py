"""What a secret of a scheme looks like, for checks of a file where its value is not known."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from relay.signatures.keys import from_hex
from relay.signatures.mac.row import Row
from relay.signatures.options import SAMPLE
from relay.signatures.providers.public_key import rsa_key
from relay.signatures.schemes.public_key import ecdsa_key, ed25519_key


def sample(row: Row) -> bytes:
    """Give a secret that a row takes as a key."""
    make = _SAMPLES.get(row.make_key or row.decode_key)
    return SAMPLE if make is None else make()


def _hex() -> bytes:
    return base64.b64decode(SAMPLE).hex().encode()


def _p256() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - costs 10 MB, used by few

    return _der(ec.derive_private_key(1, ec.SECP256R1()).public_key())


def _rsa() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415 - costs 10 MB, used by few

    # No key that anybody could hold: the modulus need not be a product of primes to be read.
    return _der(rsa.RSAPublicNumbers(e=65537, n=2**2047 + 1).public_key())


def _der(public: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - costs 10 MB, used by few

    how = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return base64.b64encode(public.public_bytes(*how))


_SAMPLES: Final[Mapping[Callable[..., Any], Callable[[], bytes]]] = MappingProxyType(
    {from_hex: _hex, ed25519_key: _hex, ecdsa_key: _p256, rsa_key: _rsa}
)
