"""JSON Web Tokens: who may post is said by a signed token, which says nothing about the body."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from relay.errors import SignatureError, UsageError
from relay.model import Headers, Request
from relay.signatures.scheme import Outgoing, Scheme, Verified
from relay.signatures.schemes.public_key import PEM, private_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_AUTHORIZATION: Final = b"authorization"
_LIFETIME: Final = 300.0  # seconds that a token of our own is good for
_SHORTEST_SECRET: Final = 32  # bytes; RFC 7518, 3.2 takes no shorter key for HS256
_SHORTEST_RSA: Final = 2048  # bits; RFC 7518, 3.3
_MAX_TOKEN: Final = 16 * 1024
_MAX_KEYS: Final = 64


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key and the one algorithm that goes with it: the token's own word for it is not asked."""

    algorithm: str
    verifier: Any = field(repr=False)
    signer: Any = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebToken(Scheme):
    """Keys of the file, or the set that `jwks_url` publishes; `tolerance` is how far clocks may differ."""

    keys: tuple[TokenKey, ...] = field(repr=False)
    jwks_url: str | None
    issuer: str | None
    audience: tuple[str, ...]
    tolerance: float

    def documents(self, request: Request) -> tuple[str, ...]:  # noqa: ARG002 - see Scheme
        """Name the key set, where there is one."""
        return () if self.jwks_url is None else (self.jwks_url,)

    def verify(self, request: Request, *, now: float) -> Verified:
        """Check the token by each key of the file, then what it claims."""
        token = _shown(request)
        found: int | None = None
        claims: Mapping[str, Any] = {}
        for index, key in enumerate(self.keys):
            read = _claims(token, key)
            if read is not None and found is None:
                found, claims = index, read
        if found is None:
            raise SignatureError("mismatch", "no secret made this token")
        self._check(claims, now)
        return Verified(found)

    def verify_with(self, request: Request, *, now: float, documents: Mapping[str, bytes]) -> Verified:
        """Check the token by the key of the set that it names; `unknown_key` where the set has none such."""
        if self.jwks_url is None:
            return self.verify(request, now=now)
        token = _shown(request)
        claims = _claims(token, _named(_keys(documents.get(self.jwks_url, b"")), _kid(token)))
        if claims is None:
            raise SignatureError("mismatch", "the key that the token names did not make it")
        self._check(claims, now)
        return Verified(None)

    def _check(self, claims: Mapping[str, Any], now: float) -> None:
        expires, begins = _time(claims, "exp"), _time(claims, "nbf")
        if expires is None:
            raise SignatureError("malformed", "the token has no exp")
        if now >= expires + self.tolerance or (begins is not None and now < begins - self.tolerance):
            raise SignatureError("stale", "the token is not valid now")
        if self.issuer is not None and claims.get("iss") != self.issuer:
            raise SignatureError("issuer", "iss is not the issuer in the file")
        meant = claims.get("aud")
        audience = meant if isinstance(meant, list) else [meant]
        if self.audience and not any(each in self.audience for each in audience if isinstance(each, str)):
            raise SignatureError("audience", "aud is not the audience in the file")

    def write(self, outgoing: Outgoing) -> Headers:
        """Make a token with the first key; UsageError where it is a public one."""
        import jwt  # noqa: PLC0415 - loads cryptography, which costs 10 MB

        key = self.keys[0] if self.keys else None
        if key is None or key.signer is None:
            raise UsageError("only the issuer holds the key that signs its tokens: none can be made here")
        claims = {"iss": self.issuer, "aud": list(self.audience) or None, "iat": int(outgoing.now)}
        claims |= {"exp": int(outgoing.now + _LIFETIME), "jti": outgoing.event_id}
        given = {name: value for name, value in claims.items() if value is not None}
        return (
            (_AUTHORIZATION, b"Bearer " + jwt.encode(given, key.signer, algorithm=key.algorithm).encode()),
        )


def webtoken_scheme(
    secrets: Sequence[bytes] | None,
    *,
    jwks_url: str | None,
    issuer: str | None,
    audience: Sequence[str],
    tolerance: float,
) -> WebToken:
    """Build the scheme; ValueError unless its options go together."""
    if (secrets is None) == (jwks_url is None):
        raise ValueError("scheme jwt takes either secrets or jwks_url")
    if jwks_url is not None and not jwks_url.startswith("https://"):
        raise ValueError("jwks_url must begin with https://")
    keys = tuple(_key(number, secret) for number, secret in enumerate(secrets or (), 1))
    bound = issuer is not None and bool(audience)
    if not bound and (jwks_url is not None or any(key.algorithm != "HS256" for key in keys)):
        raise ValueError("issuer and audience are needed: who has a public key signs for others as well")
    return WebToken(
        name="jwt",
        proof="authenticated",
        secret_headers=frozenset({_AUTHORIZATION}),
        keys=keys,
        jwks_url=jwks_url,
        issuer=issuer,
        audience=tuple(audience),
        tolerance=tolerance,
    )


def _key(number: int, secret: bytes) -> TokenKey:
    try:
        return _read_key(secret)
    except ValueError as error:
        raise ValueError(f"secret {number} of scheme jwt {error}") from None


def _read_key(secret: bytes) -> TokenKey:
    """Take PEM for an RSA or P-256 key, public or private, and all else for a secret of HS256."""
    if not secret.startswith(PEM):
        if len(secret) < _SHORTEST_SECRET:
            raise ValueError(f"must have {_SHORTEST_SECRET} bytes at least, as HS256 asks for")
        return TokenKey("HS256", secret, secret)
    if b"PRIVATE KEY" in secret:
        private = private_key(secret)
        public = private.public_key()
        return TokenKey(_algorithm(public), public, private)
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - costs 10 MB, used by few
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    try:
        public = load_pem_public_key(secret)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be a public key as PEM") from None
    return TokenKey(_algorithm(public), public)


def _algorithm(public: PublicKeyTypes) -> str:
    """RS256 for RSA and ES256 for P-256; ValueError for any other key."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: PLC0415 - loaded with the key itself

    if isinstance(public, rsa.RSAPublicKey) and public.key_size >= _SHORTEST_RSA:
        return "RS256"
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP256R1):
        return "ES256"
    raise ValueError(f"must be an RSA key of {_SHORTEST_RSA} bits at least, or a P-256 key")


def _shown(request: Request) -> bytes:
    value = request.header(_AUTHORIZATION)
    if not value:
        raise SignatureError("missing", "no authorization")
    kind, _, token = value.partition(b" ")
    token = token.strip()
    if kind.lower() != b"bearer" or token.count(b".") != 2 or len(token) > _MAX_TOKEN:  # noqa: PLR2004 - a.b.c
        raise SignatureError("malformed", "authorization is no bearer token of three parts")
    return token


def _claims(token: bytes, key: TokenKey) -> Mapping[str, Any] | None:
    """What the token claims, None where this key did not make it; times are checked by the caller's clock."""
    import jwt  # noqa: PLC0415 - loads cryptography, which costs 10 MB

    try:
        payload = jwt.PyJWS(algorithms=[key.algorithm]).decode(
            token, key.verifier, algorithms=[key.algorithm]
        )
        claims = json.loads(payload)
    except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
        return None
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise SignatureError("malformed", "the token cannot be read") from None
    if not isinstance(claims, dict):
        raise SignatureError("malformed", "the token claims nothing")
    return claims


def _kid(token: bytes) -> str | None:
    import jwt  # noqa: PLC0415 - loads cryptography, which costs 10 MB

    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise SignatureError("malformed", "the token cannot be read") from None
    return kid if isinstance(kid, str) else None


def _keys(document: bytes) -> list[tuple[str | None, TokenKey]]:
    """The usable keys of a set with their ids; others, such as keys for encryption, are passed over."""
    import jwt  # noqa: PLC0415 - loads cryptography, which costs 10 MB

    try:
        listed = json.loads(document)["keys"]
        entries = [entry for entry in listed[:_MAX_KEYS] if isinstance(entry, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SignatureError("unreadable", "jwks_url publishes no key set") from None
    keys = []
    for entry in entries:
        if entry.get("kty") not in {"RSA", "EC"} or entry.get("use", "sig") != "sig":
            continue
        try:
            public = jwt.PyJWK({**entry, "alg": None}, "RS256" if entry["kty"] == "RSA" else "ES256").key
            key = TokenKey(_algorithm(public), public)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
        if entry.get("alg", key.algorithm) == key.algorithm:
            kid = entry.get("kid")
            keys.append((kid if isinstance(kid, str) else None, key))
    return keys


def _named(keys: Sequence[tuple[str | None, TokenKey]], kid: str | None) -> TokenKey:
    found = [key for name, key in keys if name == kid] if kid is not None else [key for _, key in keys]
    if len(found) != 1:
        raise SignatureError("unknown_key", "the key set has no one key by the token's kid")
    return found[0]


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SignatureError("malformed", f"{name} is no number")
    try:
        return float(value)
    except OverflowError:
        raise SignatureError("malformed", f"{name} is no time") from None
