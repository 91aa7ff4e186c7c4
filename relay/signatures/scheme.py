"""What every verification scheme can be asked, and the values it answers with.

Schemes are pure: no clock, no I/O. `now` is an argument, in Unix seconds.
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal
from urllib.parse import unquote_plus

from relay.model import Headers, Request
from relay.signatures.event_fields import Parsed, Place, first

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verified:
    """A request is from whom it says; which of the configured secrets said so, if there are any."""

    secret_index: int | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider's handshake is answered; a handshake is neither stored nor counted."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Identity:
    """What the provider calls this event: its type, and its own id for this delivery."""

    type: str | None = None
    provider_id: str | None = None


Challenge = Callable[[Request, Parsed], Answer | None]
"""How a scheme answers a handshake that is signed; None for a request that is none."""

Greeting = Callable[[Request], Answer | None]
"""How a scheme answers a handshake that nobody signs, from method and query; None for a request that is none.

It may raise SignatureError: this is a handshake, and not from whom it says.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request that is about to be signed as the provider would."""

    body: bytes
    now: float
    event_id: str
    url: str
    method: str
    event_type: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme(ABC):
    """One way to tell that a request is from whom it says, and its signer.

    max_body        the default limit of a body in bytes
    secret_headers  plain secrets: never stored, never forwarded
    secret_query    query names that carry plain secrets
    mac_headers     signatures of the body, void once the body is transformed
    needs_url       the URL that the sender posted to is signed
    challenge       how a handshake is answered once it is verified, where the provider has one
    greeting        how a handshake without a signature is answered, whatever its method
    type_at, id_at  where the event's type and the provider's delivery id are, the best place first
    proof           what a pass means: a plain secret that is shown proves nothing about the body
    experimental    made from documentation alone: no vector and no library of the provider confirms it
    """

    name: str
    max_body: int = MIB
    secret_headers: frozenset[bytes] = frozenset()
    secret_query: frozenset[str] = frozenset()
    mac_headers: frozenset[bytes] = frozenset()
    needs_url: bool = False
    type_at: tuple[Place, ...] = ()
    id_at: tuple[Place, ...] = ()
    challenge: Challenge | None = None
    greeting: Greeting | None = None
    proof: Literal["verified", "authenticated", "none"] = "verified"
    experimental: bool = False

    @abstractmethod
    def verify(self, request: Request, *, now: float) -> Verified:
        """Find the secret the request was made with; SignatureError: missing malformed stale mismatch."""

    @abstractmethod
    def write(self, outgoing: Outgoing) -> Headers:
        """Write the headers by which the provider would sign this with the first secret."""

    def documents(self, request: Request) -> tuple[str, ...]:  # noqa: ARG002 - most need none
        """Name the URLs, each checked, of what verifying this request needs; SignatureError as `verify`."""
        return ()

    def verify_with(self, request: Request, *, now: float, documents: Mapping[str, bytes]) -> Verified:  # noqa: ARG002
        """Verify by the content of what `documents` named.

        More reasons: `unknown_key`, a newer copy may hold the key; `unreadable`, it is not what it should be.
        """
        return self.verify(request, now=now)

    def greet(self, request: Request) -> Answer | None:
        """Answer a handshake that nobody signs, None for any other request; ask before all else."""
        return None if self.greeting is None else self.greeting(request)

    def answer(self, request: Request, parsed: Parsed) -> Answer | None:
        """Answer a handshake, None for any other request; ask only after `verify` passed."""
        return None if self.challenge is None else self.challenge(request, parsed)

    def confirmation(self, request: Request, parsed: Parsed) -> str | None:  # noqa: ARG002 - most have none
        """Name the URL to visit before `answer` is sent; ask only after `verify` passed."""
        return None

    def identify(self, request: Request, parsed: Parsed) -> Identity:
        """Find type and delivery id; `parsed` is called only where the headers do not tell."""
        return Identity(first(self.type_at, request, parsed), first(self.id_at, request, parsed))

    def content_type(self, body: bytes) -> bytes:  # noqa: ARG002 - some providers send forms as well
        """Name the content type under which the provider would send this body."""
        return b"application/json"

    def fill(self, body: bytes, *, now: float, event_id: str) -> bytes:  # noqa: ARG002 - most leave it alone
        """Put into the body what the provider writes there: a time, a token or the signature itself."""
        return body

    def target(self, url: str, body: bytes) -> str:  # noqa: ARG002 - most providers leave the URL alone
        """Add to the URL what the provider would add before it posts this body."""
        return url

    def sign(
        self,
        body: bytes,
        *,
        now: float,
        event_id: str,
        url: str,
        method: str = "POST",
        event_type: str | None = None,
    ) -> Headers:
        """Write all headers that the provider would send with this body to `url` (see `target`)."""
        outgoing = Outgoing(
            body=body, now=now, event_id=event_id, url=url, method=method, event_type=event_type
        )
        return ((b"content-type", self.content_type(body)), *self.write(outgoing))


def traits(scheme: Scheme) -> dict[str, Any]:
    """What is said of every scheme, for one that is built around another."""
    return {each.name: getattr(scheme, each.name) for each in fields(Scheme)}


def query_name(pair: bytes) -> str:
    """Decode the name of one `name=value` of a query, so that escapes in it hide nothing."""
    return unquote_plus(pair.partition(b"=")[0].decode("utf-8", "replace"))


def query_value(query: bytes, name: str) -> str | None:
    """Decode the first value of a query by its name; None where there is none."""
    for pair in query.split(b"&"):
        head, equals, value = pair.partition(b"=")
        if equals and unquote_plus(head.decode("utf-8", "replace")) == name:
            return unquote_plus(value.decode("utf-8", "replace"))
    return None


def match_index(expected: Sequence[bytes], candidates: Sequence[bytes]) -> int | None:
    """Find the index of the first of `expected` that is among `candidates`.

    Every pair is compared, in constant time, so that the time taken does not tell which one matched.
    """
    found: int | None = None
    for index, wanted in enumerate(expected):
        for candidate in candidates:
            if hmac.compare_digest(wanted, candidate) and found is None:
                found = index
    return found
