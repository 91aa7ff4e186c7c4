"""The kind `hmac`: a row of the table that is written in the YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from relay.signatures.event_fields import InHeader
from relay.signatures.keys import ENCODINGS
from relay.signatures.mac.row import Row, Signed
from relay.signatures.mac.scheme import HmacScheme, hmac_scheme
from relay.signatures.options import SECRETS, KindInfo, Option, OptionType, tolerance


def _build(o: Mapping[str, Any]) -> HmacScheme:
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


HMAC: Final = KindInfo(
    name="hmac",
    about="any provider that signs with an HMAC and one header",
    options=(
        SECRETS,
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
            about="what is signed, over {body} {timestamp} {id} {url} {method} {header:NAME} {query:NAME}",
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
        tolerance(300.0),
    ),
    build=_build,
)
