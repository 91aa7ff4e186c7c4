"""The scheme that a row of the HMAC table becomes once it has its secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.keys import PUBLIC_KEY_MARK, Key, MacKey, public_key
from relay.signatures.places import InHeader
from relay.signatures.rows import Row
from relay.signatures.scheme import Outgoing, Scheme, Verified

_MAX_SIGNATURES: Final = 16
"""Beyond what any sender that rolls its keys writes; each Ed25519 check costs 100 µs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HmacScheme(Scheme):
    """A row of the table, with its keys and its tolerance in seconds (None: the age is not checked)."""

    row: Row
    keys: tuple[Key, ...] = field(repr=False)
    tolerance: float | None

    def verify(self, request: Request, *, now: float) -> Verified:
        """Compare every key with every signature in the header."""
        candidates, stamp = self._read(request)
        self._check_age(stamp, now)
        message = self._message(request, stamp)
        found: int | None = None
        for index, key in enumerate(self.keys):
            if key.matches(message, candidates) and found is None:
                found = index
        if found is None:
            raise SignatureError("mismatch", f"no secret made this {self.row.header.decode()}")
        return Verified(found)

    def _read(self, request: Request) -> tuple[Sequence[bytes], bytes | None]:
        row = self.row
        read = row.form.read(_needed(request, row.header))
        prefixes = (row.prefix, row.ed25519) if row.ed25519 else row.prefix
        candidates = [item for item in read.candidates if item.startswith(prefixes)]
        if not candidates:
            raise SignatureError("malformed", f"{row.header.decode()} has no signature of a known kind")
        if len(candidates) > _MAX_SIGNATURES:
            raise SignatureError("malformed", f"{row.header.decode()} has too many signatures")
        stamp = read.timestamp
        if row.timestamp_header is not None:
            stamp = _needed(request, row.timestamp_header)
        elif row.form.timed and not stamp:
            raise SignatureError("malformed", f"{row.header.decode()} has no timestamp")
        return candidates, stamp

    def _check_age(self, stamp: bytes | None, now: float) -> None:
        if stamp is None:
            return
        away = abs(now - self.row.unit.read(stamp))
        if self.tolerance is not None and away > self.tolerance:
            raise SignatureError("stale", f"the timestamp is {away:.0f} s off")

    def _message(self, request: Request, stamp: bytes | None) -> list[bytes]:
        signed = self.row.signed
        values = {"body": request.body, "timestamp": stamp or b""}
        if self.row.id_header is not None and signed.uses("id"):
            values["id"] = _needed(request, self.row.id_header)
        if self.needs_url:
            values["url"] = request.url.encode("utf-8", "replace")
        values["method"] = request.method.encode("utf-8", "replace")
        return signed.fill(values)

    def content_type(self, body: bytes) -> bytes:
        """JSON, unless the provider sends forms and this looks like one."""
        if self.row.forms and not looks_like_json(body):
            return b"application/x-www-form-urlencoded"
        return b"application/json"

    def write(self, outgoing: Outgoing) -> Headers:
        """Write the signature, its timestamp and id, and the headers with the event's type and id."""
        row = self.row
        stamp = row.unit.write(outgoing.now)
        identity = outgoing.event_id.encode()
        values = {
            "body": outgoing.body,
            "timestamp": stamp,
            "id": identity,
            "url": outgoing.url.encode(),
            "method": outgoing.method.encode(),
        }
        headers = identity_headers(self, outgoing)
        if row.id_header is not None:
            headers[row.id_header] = identity
        if row.timestamp_header is not None:
            headers[row.timestamp_header] = stamp
        headers[row.header] = row.form.write(self.keys[0].write(row.signed.fill(values)), stamp)
        return tuple(headers.items())


def identity_headers(scheme: Scheme, outgoing: Outgoing) -> dict[bytes, bytes]:
    """Fill the headers in which the scheme looks for type and delivery id, as the provider would."""
    headers: dict[bytes, bytes] = {}
    for place in scheme.type_at:
        if isinstance(place, InHeader) and outgoing.event_type is not None:
            # What follows the dot is in the body already.
            head = outgoing.event_type if place.then is None else outgoing.event_type.partition(".")[0]
            headers[place.name] = head.encode()
    for place in scheme.id_at:
        if isinstance(place, InHeader):
            headers[place.name] = outgoing.event_id.encode()
    return headers


def looks_like_json(body: bytes) -> bool:
    """Whether a body to be sent is JSON rather than a form."""
    return body.lstrip()[:1] in {b"{", b"["}


def hmac_scheme(row: Row, secrets: Sequence[bytes], *, tolerance: float | None = None) -> HmacScheme:
    """Give a row its secrets; ValueError names the secret that cannot be a key, by its place."""
    keys: list[Key] = []
    for number, secret in enumerate(secrets, 1):
        try:
            keys.append(_key(row, secret))
        except ValueError as error:
            raise ValueError(f"secret {number} of scheme {row.name} {error}") from None
    return HmacScheme(
        name=row.name,
        max_body=row.max_body,
        mac_headers=frozenset({row.header}) | row.other_macs,
        needs_url=row.signed.uses("url"),
        type_at=row.type_at,
        id_at=row.id_at,
        challenge=row.challenge,
        row=row,
        keys=tuple(keys),
        tolerance=row.tolerance if tolerance is None else tolerance,
    )


def _key(row: Row, secret: bytes) -> Key:
    if row.ed25519 and secret.startswith(PUBLIC_KEY_MARK):
        return public_key(secret, prefix=row.ed25519)
    return MacKey(row.decode_key(secret), algorithm=row.algorithm, encoding=row.encoding, prefix=row.prefix)


def _needed(request: Request, name: bytes) -> bytes:
    value = request.header(name)
    if not value:
        raise SignatureError("missing", f"no {name.decode()}")
    return value
