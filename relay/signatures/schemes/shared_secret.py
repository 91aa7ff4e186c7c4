"""Schemes without a signature: the sender shows a plain secret, or nothing at all.

Such a request is authenticated, not verified: its body could have been changed on the way.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import quote, unquote_to_bytes

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.scheme import Outgoing, Scheme, Verified, match_index, query_name

_AUTHORIZATION = b"authorization"


class Carrier(Protocol):
    """Where a plain secret travels."""

    def read(self, request: Request) -> Sequence[bytes]:
        """Read the credential as it may be meant; SignatureError if there is none."""
        ...

    def write(self, credential: bytes) -> Headers:
        """Write the headers that carry it."""
        ...

    def target(self, url: str, credential: bytes) -> str:
        """Write the URL that carries it."""
        ...


@dataclass(frozen=True, slots=True)
class HeaderCarrier:
    """A header whose whole value is the secret."""

    name: bytes

    def read(self, request: Request) -> Sequence[bytes]:
        """Read the header."""
        value = request.header(self.name)
        if not value:
            raise SignatureError("missing", f"no {self.name.decode()}")
        return (value,)

    def write(self, credential: bytes) -> Headers:
        """Write the header."""
        return ((self.name, credential),)

    def target(self, url: str, credential: bytes) -> str:  # noqa: ARG002 - see Carrier
        """Leave the URL alone."""
        return url


@dataclass(frozen=True, slots=True)
class AuthorizationCarrier:
    """`Authorization: Bearer SECRET`, or `Authorization: Basic base64(username:secret)`."""

    kind: bytes

    def read(self, request: Request) -> Sequence[bytes]:
        """Read what follows the kind, decoded for Basic."""
        value = request.header(_AUTHORIZATION)
        if not value:
            raise SignatureError("missing", "no authorization")
        kind, _, credential = value.partition(b" ")
        credential = credential.strip()
        if kind.lower() != self.kind.lower() or not credential:
            raise SignatureError("malformed", f"authorization is not {self.kind.decode()}")
        return (credential if self.kind != b"Basic" else _decoded(credential),)

    def write(self, credential: bytes) -> Headers:
        """Write the header."""
        shown = credential if self.kind != b"Basic" else base64.b64encode(credential)
        return ((_AUTHORIZATION, self.kind + b" " + shown),)

    def target(self, url: str, credential: bytes) -> str:  # noqa: ARG002 - see Carrier
        """Leave the URL alone."""
        return url


@dataclass(frozen=True, slots=True)
class QueryCarrier:
    """A parameter of the query."""

    name: str

    def read(self, request: Request) -> Sequence[bytes]:
        """Read the first value by that name: as in a form, and with a bare + kept."""
        for pair in request.query.split(b"&"):
            value = pair.partition(b"=")[2]
            if value and query_name(pair) == self.name:
                # Senders paste base64 keys into URLs unescaped.
                return (unquote_to_bytes(value.replace(b"+", b" ")), unquote_to_bytes(value))
        raise SignatureError("missing", f"no {self.name} in the query")

    def write(self, credential: bytes) -> Headers:  # noqa: ARG002 - see Carrier
        """No header carries it."""
        return ()

    def target(self, url: str, credential: bytes) -> str:
        """Append the parameter."""
        return with_parameter(url, self.name, credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenScheme(Scheme):
    """A plain secret is shown, and compared in constant time."""

    carrier: Carrier
    credentials: tuple[bytes, ...] = field(repr=False)

    def verify(self, request: Request, *, now: float) -> Verified:  # noqa: ARG002 - a token has no age
        """Compare every secret with what is shown."""
        found = match_index(self.credentials, self.carrier.read(request))
        if found is None:
            raise SignatureError("mismatch", "not one of the secrets")
        return Verified(found)

    def write(self, outgoing: Outgoing) -> Headers:  # noqa: ARG002 - a token signs nothing
        """Write the first secret, where it travels in a header."""
        return self.carrier.write(self.credentials[0])

    def target(self, url: str, body: bytes) -> str:  # noqa: ARG002 - a token signs nothing
        """Append the first secret, where it travels in the URL."""
        return self.carrier.target(url, self.credentials[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class NoScheme(Scheme):
    """Everyone may post."""

    def verify(self, request: Request, *, now: float) -> Verified:  # noqa: ARG002 - see the class
        """Let everyone in."""
        return Verified(None)

    def write(self, outgoing: Outgoing) -> Headers:  # noqa: ARG002 - see the class
        """Sign nothing."""
        return ()


def basic_scheme(username: str, secrets: Sequence[bytes]) -> TokenScheme:
    """Build Basic authentication; ValueError for a username with a colon, which would end it."""
    if ":" in username:
        raise ValueError("username: a colon would end it")
    return TokenScheme(
        name="basic",
        proof="authenticated",
        secret_headers=frozenset({_AUTHORIZATION}),
        carrier=AuthorizationCarrier(b"Basic"),
        credentials=tuple(username.encode() + b":" + secret for secret in secrets),
    )


def bearer_scheme(secrets: Sequence[bytes]) -> TokenScheme:
    """Build the check of a bearer token."""
    return TokenScheme(
        name="bearer",
        proof="authenticated",
        secret_headers=frozenset({_AUTHORIZATION}),
        carrier=AuthorizationCarrier(b"Bearer"),
        credentials=tuple(secrets),
    )


def api_key_scheme(secrets: Sequence[bytes], *, header: bytes | None, query: str | None) -> TokenScheme:
    """Build the check of a key in a header or in the query; ValueError unless it is one of the two."""
    if header is not None and query is None:
        return TokenScheme(
            name="api-key",
            proof="authenticated",
            secret_headers=frozenset({header}),
            carrier=HeaderCarrier(header),
            credentials=tuple(secrets),
        )
    if query is not None and header is None:
        return TokenScheme(
            name="api-key",
            proof="authenticated",
            secret_query=frozenset({query}),
            carrier=QueryCarrier(query),
            credentials=tuple(secrets),
        )
    raise ValueError("scheme api-key takes either header or query")


def with_parameter(url: str, name: str, value: bytes) -> str:
    """Append a parameter to the query of a URL."""
    return f"{url}{'&' if '?' in url else '?'}{quote(name, safe='')}={quote(value, safe='')}"


def _decoded(credential: bytes) -> bytes:
    try:
        return base64.b64decode(credential, validate=True)
    except binascii.Error:
        raise SignatureError("malformed", "authorization is not base64") from None
