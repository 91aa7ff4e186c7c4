"""A row of the HMAC table: a provider is a row, not a class."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from relay.signatures.event_fields import Place
from relay.signatures.keys import HEX, Encoding, Key, raw
from relay.signatures.mac.header_layout import WHOLE, Form
from relay.signatures.scheme import MIB, Challenge, Greeting
from relay.signatures.timestamps import SECONDS, Unit

HOLES: Final = ("body", "timestamp", "id", "url", "method", "form")
_HOLE: Final = re.compile(r"\{([^{}]*)\}")
_NAMED: Final = re.compile(r"header:[a-z0-9!#$%&'*+.^_`|~-]+|query:[^{}]+")


@dataclass(frozen=True, slots=True)
class Signed:
    """What is signed: literal bytes, and names of what is put between them.

    body         the raw bytes of the body
    timestamp    as it was sent
    id           the value of the row's `id_header`
    url, method  as the sender used them
    form         the fields of a form, sorted by name, each name followed by its value
    header:NAME  the value of another header, its name in lower case
    query:NAME   the first value of a parameter of the query
    """

    pieces: tuple[bytes | str, ...]

    @classmethod
    def compile(cls, template: str) -> Signed:
        """From `{timestamp}.{body}`; ValueError for an unknown name, a stray brace or no body."""
        split = _HOLE.split(template)
        literals, holes = split[::2], split[1::2]
        for hole in holes:
            if hole not in HOLES and not _NAMED.fullmatch(hole):
                known = " ".join(f"{{{name}}}" for name in (*HOLES, "header:NAME", "query:NAME"))
                raise ValueError(f"{{{hole}}} is unknown; there are {known}")
        if any("{" in text or "}" in text for text in literals):
            raise ValueError("a brace stands alone")
        if "body" not in holes and "form" not in holes:
            raise ValueError("{body} is missing: without it anyone could change the body")
        pieces: list[bytes | str] = [literals[0].encode()]
        for hole, literal in zip(holes, literals[1:], strict=True):
            pieces += [hole, literal.encode()]
        return cls(tuple(piece for piece in pieces if piece))

    def uses(self, hole: str) -> bool:
        """Whether this is among what is signed."""
        return hole in self.pieces

    @property
    def headers(self) -> list[bytes]:
        """The headers whose values are signed."""
        return [
            piece.removeprefix("header:").encode()
            for piece in self.pieces
            if isinstance(piece, str) and piece.startswith("header:")
        ]

    def fill(self, value: Callable[[str], bytes]) -> list[bytes]:
        """Put in the value of each name; the text stays in pieces, so that a large body is not copied."""
        return [value(piece) if isinstance(piece, str) else piece for piece in self.pieces]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One provider of the HMAC family.

    header            of the signatures
    also              further headers that may hold signatures, each under a key of its own
    signed            what is signed
    prefix            stands before the encoded digest, and picks the signatures out of a list
    ed25519           prefix of Ed25519 signatures, for secrets that are public keys (whpk_…)
    form              how the signature header is laid out
    timestamp_header  None where there is no timestamp, or the form has it
    unit              how the timestamp is written; None: the provider does not say, so its age is not checked
    tolerance         seconds that a signed timestamp may be off, either way; None: its age is not checked
    id_header         of {id}
    type_at, id_at    where the event's type and the delivery's id are
    decode_key        makes an HMAC key of a secret, make_key one of another kind; ValueError where it is none
    other_macs        further headers with a signature of the body, which are not looked at
    forms             the provider sends forms as well as JSON
    challenge         how a handshake is answered once it is verified
    greeting          how a handshake without a signature is answered
    """

    name: str
    about: str
    header: bytes
    also: frozenset[bytes] = frozenset()
    signed: Signed
    algorithm: str = "sha256"
    encoding: Encoding = HEX
    prefix: bytes = b""
    ed25519: bytes = b""
    form: Form = WHOLE
    timestamp_header: bytes | None = None
    unit: Unit | None = SECONDS
    tolerance: float | None = 300.0
    id_header: bytes | None = None
    type_at: tuple[Place, ...] = ()
    id_at: tuple[Place, ...] = ()
    decode_key: Callable[[bytes], bytes] = raw
    make_key: Callable[[bytes], Key] | None = None
    max_body: int = MIB
    other_macs: frozenset[bytes] = frozenset()
    forms: bool = False
    challenge: Challenge | None = None
    greeting: Greeting | None = None

    @property
    def timed(self) -> bool:
        """Tell whether there is a timestamp whose age can be checked."""
        return self.unit is not None and (self.form.timed or self.timestamp_header is not None)
