"""The HMAC family as one table: a provider is a row, not a class.

Sources of the rows: each provider's page on verifying its webhooks, and its own Python library,
with which the tests sign and verify.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from relay.errors import SignatureError
from relay.model import Request
from relay.signatures.keys import BASE64, HEX, Encoding, after_whsec, raw
from relay.signatures.places import InBody, InHeader, Parsed, Place
from relay.signatures.scheme import MIB, Answer, Challenge

HOLES: Final = ("body", "timestamp", "id", "url", "method")
_HOLE: Final = re.compile(r"\{([^{}]*)\}")
_MAX_DIGITS: Final = 15  # enough for milliseconds; beyond it no sender's clock is meant


class Found(NamedTuple):
    """What a signature header holds: its signatures, and the timestamp where it stands among them."""

    candidates: Sequence[bytes]
    timestamp: bytes | None = None


class Form(Protocol):
    """How a signature header is laid out."""

    @property
    def timed(self) -> bool:
        """Tell whether the timestamp stands in it."""
        ...

    def read(self, value: bytes) -> Found:
        """Take a header apart."""
        ...

    def write(self, signature: bytes, timestamp: bytes) -> bytes:
        """Put a header together."""
        ...


@dataclass(frozen=True, slots=True)
class Whole:
    """The header is one signature."""

    timed: bool = False

    def read(self, value: bytes) -> Found:
        """Read the header as it is."""
        return Found((value,))

    def write(self, signature: bytes, timestamp: bytes) -> bytes:  # noqa: ARG002 - see Form
        """Write the signature as it is."""
        return signature


@dataclass(frozen=True, slots=True)
class Listed:
    """The header is a list of signatures with blanks between them."""

    timed: bool = False

    def read(self, value: bytes) -> Found:
        """Read every item of the list."""
        return Found(value.split())

    def write(self, signature: bytes, timestamp: bytes) -> bytes:  # noqa: ARG002 - see Form
        """Write a list of one."""
        return signature


@dataclass(frozen=True, slots=True)
class Fields:
    """The header is `name=value` fields, the timestamp among them and signatures maybe several times."""

    time: bytes = b"t="
    separator: bytes = b","
    timed: bool = True

    def read(self, value: bytes) -> Found:
        """Read every field, and the first timestamp."""
        items = [item.strip() for item in value.split(self.separator)]
        stamp = next((item for item in items if item.startswith(self.time)), None)
        return Found(items, None if stamp is None else stamp[len(self.time) :])

    def write(self, signature: bytes, timestamp: bytes) -> bytes:
        """Write the timestamp and one signature."""
        return self.time + timestamp + self.separator + signature


@dataclass(frozen=True, slots=True)
class Unit:
    """How a timestamp is written; `read` gives Unix seconds and raises SignatureError."""

    read: Callable[[bytes], float]
    write: Callable[[float], bytes]


def _read_seconds(text: bytes) -> float:
    # Digits alone: no sign, fraction, blank or underscore, all of which int() or float() would take.
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise SignatureError("malformed", "the timestamp is no whole number of seconds")
    return float(text)


SECONDS: Final = Unit(read=_read_seconds, write=lambda now: b"%d" % now)


@dataclass(frozen=True, slots=True)
class Signed:
    """What is signed: literal bytes, and names of what is put between them."""

    pieces: tuple[bytes | str, ...]

    @classmethod
    def compile(cls, template: str) -> Signed:
        """From `{timestamp}.{body}`; ValueError for an unknown name, a stray brace or no body."""
        split = _HOLE.split(template)
        literals, holes = split[::2], split[1::2]
        for hole in holes:
            if hole not in HOLES:
                raise ValueError(f"{{{hole}}} is unknown; there are {' '.join(f'{{{h}}}' for h in HOLES)}")
        if any("{" in text or "}" in text for text in literals):
            raise ValueError("a brace stands alone")
        if "body" not in holes:
            raise ValueError("{body} is missing: without it anyone could change the body")
        pieces: list[bytes | str] = [literals[0].encode()]
        for hole, literal in zip(holes, literals[1:], strict=True):
            pieces += [hole, literal.encode()]
        return cls(tuple(piece for piece in pieces if piece))

    def uses(self, hole: str) -> bool:
        """Whether this is among what is signed."""
        return hole in self.pieces

    def fill(self, values: Mapping[str, bytes]) -> list[bytes]:
        """Put the values in; the text stays in pieces, so that a large body is not copied."""
        return [values[piece] if isinstance(piece, str) else piece for piece in self.pieces]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider of the HMAC family.

    header            of the signatures
    signed            what is signed, over {body} {timestamp} {id} {url} {method}
    prefix            stands before the encoded digest, and picks the signatures out of a list
    ed25519           prefix of Ed25519 signatures, for secrets that are public keys (whpk_…)
    form              how the signature header is laid out
    timestamp_header  None where there is no timestamp, or the form has it
    tolerance         seconds that a signed timestamp may be off, either way; None: its age is not checked
    id_header         of {id}
    type_at, id_at    where the event's type and the delivery's id are
    other_macs        further headers with a signature of the body, which are not looked at
    forms             the provider sends forms as well as JSON
    """

    name: str
    about: str
    header: bytes
    signed: Signed
    algorithm: str = "sha256"
    encoding: Encoding = HEX
    prefix: bytes = b""
    ed25519: bytes = b""
    form: Form = Whole()
    timestamp_header: bytes | None = None
    unit: Unit = SECONDS
    tolerance: float | None = 300.0
    id_header: bytes | None = None
    type_at: tuple[Place, ...] = ()
    id_at: tuple[Place, ...] = ()
    decode_key: Callable[[bytes], bytes] = raw
    max_body: int = MIB
    other_macs: frozenset[bytes] = frozenset()
    forms: bool = False
    challenge: Challenge | None = None

    @property
    def timed(self) -> bool:
        """Tell whether there is a timestamp."""
        return self.form.timed or self.timestamp_header is not None


def _url_verification(request: Request, parsed: Parsed) -> Answer | None:
    if b"url_verification" not in request.body:  # saves parsing every other event here
        return None
    body = parsed()
    if not isinstance(body, Mapping) or body.get("type") != "url_verification":
        return None
    challenge = body.get("challenge")
    if not isinstance(challenge, str):
        return None
    return Answer(200, "application/json", json.dumps({"challenge": challenge}).encode())


STANDARD_WEBHOOKS: Final = Row(
    name="standard-webhooks",
    about="Standard Webhooks: webhook-id, -timestamp and -signature, HMAC (v1) or Ed25519 (v1a)",
    header=b"webhook-signature",
    signed=Signed.compile("{id}.{timestamp}.{body}"),
    encoding=BASE64,
    prefix=b"v1,",
    ed25519=b"v1a,",
    form=Listed(),
    timestamp_header=b"webhook-timestamp",
    id_header=b"webhook-id",
    type_at=(InBody(("type",)),),
    id_at=(InHeader(b"webhook-id"),),
    decode_key=after_whsec,
)

ROWS: Final = (
    STANDARD_WEBHOOKS,
    replace(
        STANDARD_WEBHOOKS,
        name="svix",
        about="Svix: as standard-webhooks, with svix- headers",
        header=b"svix-signature",
        timestamp_header=b"svix-timestamp",
        id_header=b"svix-id",
        id_at=(InHeader(b"svix-id"),),
    ),
    Row(
        name="github",
        about="GitHub, Gitea and Forgejo: X-Hub-Signature-256",
        header=b"x-hub-signature-256",
        signed=Signed.compile("{body}"),
        prefix=b"sha256=",
        type_at=(InHeader(b"x-github-event", then="action"),),
        id_at=(InHeader(b"x-github-delivery"),),
        max_body=25 * MIB,
        other_macs=frozenset(
            {b"x-hub-signature", b"x-gitea-signature", b"x-gogs-signature", b"x-forgejo-signature"}
        ),
    ),
    Row(
        name="stripe",
        about="Stripe: Stripe-Signature, its v1 signatures",
        header=b"stripe-signature",
        signed=Signed.compile("{timestamp}.{body}"),
        prefix=b"v1=",
        form=Fields(),
        type_at=(InBody(("type",)),),
        id_at=(InBody(("id",)),),
    ),
    Row(
        name="slack",
        about="Slack: X-Slack-Signature; answers url_verification, once it is verified",
        header=b"x-slack-signature",
        signed=Signed.compile("v0:{timestamp}:{body}"),
        prefix=b"v0=",
        timestamp_header=b"x-slack-request-timestamp",
        type_at=(InBody(("event", "type")), InBody(("type",)), InBody(("command",))),
        id_at=(InBody(("event_id",)),),
        forms=True,
        challenge=_url_verification,
    ),
    Row(
        name="shopify",
        about="Shopify: X-Shopify-Hmac-SHA256",
        header=b"x-shopify-hmac-sha256",
        signed=Signed.compile("{body}"),
        encoding=BASE64,
        type_at=(InHeader(b"x-shopify-topic"),),
        id_at=(InHeader(b"x-shopify-webhook-id"),),
    ),
)
