"""Every kind of scheme: what may be written about it in the YAML file, and how it is built from that."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, assert_never

from relay.signatures import gitlab, tokens, twilio
from relay.signatures.family import HmacScheme, hmac_scheme
from relay.signatures.keys import ENCODINGS
from relay.signatures.places import InHeader
from relay.signatures.rows import ROWS, Row, Signed
from relay.signatures.scheme import Scheme

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class OptionType(StrEnum):
    """What a value of an option is."""

    SECRETS = "secrets"
    TEXT = "text"
    HEADER = "header"
    DURATION = "duration"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One key beside `scheme`. Durations are seconds; `choices` are the words of a CHOICE."""

    name: str
    type: OptionType
    about: str
    required: bool = False
    default: str | float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> object:
        """Convert a value to what the scheme wants; ValueError says what was expected, never a secret."""
        match self.type:
            case OptionType.SECRETS:
                return _secrets(value)
            case OptionType.DURATION:
                return _duration(self.name, value)
            case OptionType.TEXT | OptionType.HEADER | OptionType.CHOICE:
                return self._text(value)
            case _:
                assert_never(self.type)

    def _text(self, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"{self.name} must be a text")  # noqa: TRY004 - one kind of error for every mistake
        if self.required and not value:
            raise ValueError(f"{self.name} must not be empty")
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} must be one of {', '.join(self.choices)}")
        if self.type is not OptionType.HEADER:
            return value
        if not _HEADER_NAME.fullmatch(value):
            raise ValueError(f"{self.name} must be the name of a header")
        return value.lower().encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """One kind of scheme: its options, and how it is built from them."""

    name: str
    about: str
    options: tuple[Option, ...]
    build: Callable[[Mapping[str, Any]], Scheme] = field(repr=False)

    def check(self, options: Mapping[str, object]) -> dict[str, object]:
        """Complete and check the options; None counts as not written."""
        known = {option.name: option for option in self.options}
        for name in options:
            if name not in known:
                takes = ", ".join(known) or "no options"
                raise ValueError(f"scheme {self.name} does not know {name}; it takes {takes}")
        checked: dict[str, object] = {}
        for option in self.options:
            value = options.get(option.name)
            if value is None and option.required:
                raise ValueError(f"scheme {self.name} needs {option.name}")
            default = option.default
            checked[option.name] = option.check(value) if value is not None else default
        return checked


def build(kind: str, options: Mapping[str, object]) -> Scheme:
    """Build a scheme from its options, secrets resolved to bytes; ValueError says what is wrong."""
    info = KINDS.get(kind)
    if info is None:
        raise ValueError(f"there is no scheme {kind}; there are {', '.join(KINDS)}")
    return info.build(info.check(options))


def _secrets(value: object) -> list[bytes]:
    if not isinstance(value, list | tuple) or not all(isinstance(secret, bytes) for secret in value):
        raise ValueError("secrets must be a list of bytes")
    if not value or not all(value):
        raise ValueError("secrets must hold at least one secret, and none that is empty")
    return list(value)


def _duration(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{name} must be a duration above zero")
    return float(value)


_SECRETS: Final = Option(
    name="secrets",
    type=OptionType.SECRETS,
    required=True,
    about="the secrets, any of which may verify; the first one signs",
)


def _tolerance(default: float | None) -> Option:
    return Option(
        name="tolerance",
        type=OptionType.DURATION,
        default=default,
        about="how far the signed time may be off, either way",
    )


def _row_kind(row: Row) -> KindInfo:
    options = (_SECRETS, _tolerance(row.tolerance)) if row.timed else (_SECRETS,)
    return KindInfo(
        name=row.name,
        about=row.about,
        options=options,
        build=lambda o: hmac_scheme(row, o["secrets"], tolerance=o.get("tolerance")),
    )


def _build_hmac(o: Mapping[str, Any]) -> HmacScheme:
    """Make a row of options; ValueError where what is signed and the named headers do not fit."""
    signed = _compiled(o["signed"])
    for hole, key in (("timestamp", "timestamp_header"), ("id", "id_header")):
        if signed.uses(hole) and o[key] is None:
            raise ValueError(f"signed has {{{hole}}}: name its header in {key}")
    if o["timestamp_header"] is not None and not signed.uses("timestamp"):
        raise ValueError("timestamp_header is named, but signed has no {timestamp}: anyone could change it")
    row = Row(
        name="hmac",
        about="",
        header=o["header"],
        signed=signed,
        algorithm=o["algorithm"],
        encoding=ENCODINGS[o["encoding"]],
        prefix=o["prefix"].encode(),
        timestamp_header=o["timestamp_header"],
        id_header=o["id_header"],
        id_at=() if o["id_header"] is None else (InHeader(o["id_header"]),),
    )
    return hmac_scheme(row, o["secrets"], tolerance=o["tolerance"])


def _compiled(template: str) -> Signed:
    try:
        return Signed.compile(template)
    except ValueError as error:
        raise ValueError(f"signed: {error}") from None


_HMAC: Final = KindInfo(
    name="hmac",
    about="any provider that signs with an HMAC and one header",
    options=(
        _SECRETS,
        Option(name="header", type=OptionType.HEADER, required=True, about="the header with the signature"),
        Option(
            name="algorithm",
            type=OptionType.CHOICE,
            default="sha256",
            choices=("sha1", "sha256", "sha512"),
            about="the hash",
        ),
        Option(
            name="encoding",
            type=OptionType.CHOICE,
            default="hex",
            choices=tuple(ENCODINGS),
            about="how the digest is written",
        ),
        Option(name="prefix", type=OptionType.TEXT, default="", about="what stands before the digest"),
        Option(
            name="signed",
            type=OptionType.TEXT,
            default="{body}",
            about="what is signed, over {body} {timestamp} {id} {url} {method}",
        ),
        Option(
            name="timestamp_header",
            type=OptionType.HEADER,
            about="the header with the time, in Unix seconds, for {timestamp}",
        ),
        Option(
            name="id_header",
            type=OptionType.HEADER,
            about="the header with the delivery's id, for {id} and event.provider_id",
        ),
        _tolerance(300.0),
    ),
    build=_build_hmac,
)

_OTHERS: Final = (
    KindInfo(
        name="gitlab",
        about=gitlab.ROW.about,
        options=(_SECRETS, _tolerance(300.0)),
        build=lambda o: gitlab.gitlab_scheme(o["secrets"], tolerance=o["tolerance"]),
    ),
    KindInfo(
        name="twilio",
        about="Twilio: X-Twilio-Signature over the URL and the form, or JSON by bodySHA256",
        options=(
            _SECRETS,
            Option(
                name="algorithm",
                type=OptionType.CHOICE,
                default="sha1",
                choices=("sha1", "sha256"),
                about="sha1 for an auth token, sha256 for a shared key",
            ),
        ),
        build=lambda o: twilio.twilio_scheme(o["secrets"], algorithm=o["algorithm"]),
    ),
    _HMAC,
    KindInfo(
        name="basic",
        about="HTTP Basic authentication",
        options=(
            Option(name="username", type=OptionType.TEXT, required=True, about="the user's name"),
            _SECRETS,
        ),
        build=lambda o: tokens.basic_scheme(o["username"], o["secrets"]),
    ),
    KindInfo(
        name="bearer",
        about="Authorization: Bearer with a fixed token",
        options=(_SECRETS,),
        build=lambda o: tokens.bearer_scheme(o["secrets"]),
    ),
    KindInfo(
        name="api-key",
        about="a key in a header or in the query",
        options=(
            Option(name="header", type=OptionType.HEADER, about="the header with the key"),
            Option(name="query", type=OptionType.TEXT, about="the query parameter with the key"),
            _SECRETS,
        ),
        build=lambda o: tokens.api_key_scheme(o["secrets"], header=o["header"], query=o["query"] or None),
    ),
    KindInfo(
        name="none",
        about="no check: everyone who reaches the address may post",
        options=(),
        build=lambda _: tokens.NoScheme(name="none"),
    ),
)

KINDS: Final[Mapping[str, KindInfo]] = MappingProxyType(
    {kind.name: kind for kind in (*map(_row_kind, ROWS), *_OTHERS)}
)
