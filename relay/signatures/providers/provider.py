"""A provider of the table: its row or its token, what confirms it, and how its scheme is built."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypedDict, Unpack

from relay.signatures.event_fields import Place
from relay.signatures.keys import Encoding, Key
from relay.signatures.mac.header_layout import Form
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.scheme import hmac_scheme
from relay.signatures.scheme import Challenge, Greeting, Scheme
from relay.signatures.schemes.shared_secret import api_key_scheme, basic_scheme
from relay.signatures.timestamps import Unit

SAMPLES: Final = "samples in its documentation"
"""What confirms a row whose provider publishes code or signed examples, and no vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A plain secret that is shown: by HTTP Basic, or in a header (None: the operator chose its name)."""

    kind: Literal["basic", "api-key"]
    header: bytes | None = None
    greeting: Greeting | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One scheme of the table; it has either a row or a token.

    confirmed_by  what shows beyond prose that the row is right: a published signature, a package, samples
    greeting      makes the answer to a handshake that nobody signs, from the first secret
    """

    name: str
    about: str
    row: Row | None = None
    token: Token | None = None
    confirmed_by: str | None = None
    greeting: Callable[[bytes], Greeting] | None = None

    @property
    def experimental(self) -> bool:
        """Tell whether documentation alone stands for the row; a plain token leaves nothing to be wrong."""
        return self.row is not None and self.confirmed_by is None

    def build(self, options: Mapping[str, Any]) -> Scheme:
        """Build the scheme of checked options: secrets and what else it takes; ValueError if they do not fit.

        A row takes `tolerance` where it is timed, a token of kind basic `username`, and a token whose
        header the operator chose `header`.
        """
        secrets = options["secrets"]
        if self.row is not None:
            made = hmac_scheme(self.row, secrets, tolerance=options.get("tolerance"))
            greeting = made.greeting if self.greeting is None else self.greeting(secrets[0])
            return replace(made, experimental=self.experimental, greeting=greeting)
        if self.token is None:
            raise ValueError(f"scheme {self.name} has neither a row nor a token")
        if self.token.kind == "basic":
            shown = basic_scheme(options["username"], secrets)
        else:
            shown = api_key_scheme(secrets, header=self.token.header or options["header"], query=None)
        return replace(shown, name=self.name, greeting=self.token.greeting)


class RowOptions(TypedDict, total=False):
    """The fields of a row that have defaults; see Row."""

    also: frozenset[bytes]
    algorithm: str
    encoding: Encoding
    prefix: bytes
    form: Form
    timestamp_header: bytes
    unit: Unit | None
    tolerance: float | None
    id_header: bytes
    type_at: tuple[Place, ...]
    id_at: tuple[Place, ...]
    decode_key: Callable[[bytes], bytes]
    make_key: Callable[[bytes], Key]
    other_macs: frozenset[bytes]
    forms: bool
    challenge: Challenge
    greeting: Greeting


def mac(
    name: str,
    title: str,
    header: str,
    signed: str = "{body}",
    *,
    note: str = "",
    confirmed_by: str | None = None,
    **options: Unpack[RowOptions],
) -> Provider:
    """Make a provider with a row: its name in the file and for people, its header as documented."""
    about = f"{title}: {header}" + (f"; {note}" if note else "")
    row = Row(
        name=name,
        about=about,
        header=header.lower().encode(),
        signed=Signed.compile(signed),
        **options,
    )
    return Provider(name=name, about=about, row=row, confirmed_by=confirmed_by)
