"""The scheme that a row of the HMAC table becomes once it has its secrets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.event_fields import InHeader
from relay.signatures.keys import PRIVATE_KEY_MARK, PUBLIC_KEY_MARK, Key, MacKey, ed25519_key, ed25519_pair
from relay.signatures.mac.row import Row
from relay.signatures.scheme import Outgoing, Scheme, Verified, query_value
from relay.signatures.timestamps import SECONDS

_MAX_SIGNATURES: Final = 16
"""Beyond what any sender that rolls its keys writes; each Ed25519 check costs 100 µs."""
_MAX_FIELDS: Final = 1000  # senders of forms send some dozens; a stranger's million would hold the loop


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
        row, shown = self.row, self.row.header.decode()
        found = [row.form.read(value) for value in self._signatures(request)]
        prefixes = (row.prefix, row.ed25519) if row.ed25519 else row.prefix
        candidates = [item for each in found for item in each.candidates if item.startswith(prefixes)]
        if not candidates:
            raise SignatureError("malformed", f"{shown} has no signature of a known kind")
        if len(candidates) > _MAX_SIGNATURES:
            raise SignatureError("malformed", f"{shown} has too many signatures")
        if row.timestamp_header is not None:
            return candidates, _needed(request, row.timestamp_header)
        if row.form.timed and not found[0].timestamp:
            raise SignatureError("malformed", f"{shown} has no timestamp")
        return candidates, found[0].timestamp

    def _signatures(self, request: Request) -> Sequence[bytes]:
        """Find the header, or where the provider has several, those that are there."""
        if not self.row.also:
            return (_needed(request, self.row.header),)
        names = self.row.also | {self.row.header}
        values = [value for name, value in request.headers if value and name in names]
        if not values:
            raise SignatureError("missing", f"no {self.row.header.decode()}")
        return values

    def _check_age(self, stamp: bytes | None, now: float) -> None:
        unit = self.row.unit
        if stamp is None or unit is None:
            return
        away = abs(now - unit.read(stamp))
        if self.tolerance is not None and away > self.tolerance:
            raise SignatureError("stale", f"the timestamp is {away:.0f} s off")

    def _message(self, request: Request, stamp: bytes | None) -> list[bytes]:
        """Put together what is signed; SignatureError where a part of it is missing."""

        def value(hole: str) -> bytes:
            return stamp or b"" if hole == "timestamp" else self._value(hole, request)

        return self.row.signed.fill(value)

    def _value(self, hole: str, request: Request) -> bytes:
        kind, _, name = hole.partition(":")
        match kind:
            case "body":
                return request.body
            case "url":
                return request.url.encode("utf-8", "replace")
            case "method":
                return request.method.encode("utf-8", "replace")
            case "form":
                return b"".join(sorted_fields(request.body))
            case "query":
                return _needed_query(request, name)
            case _:
                header = self.row.id_header if kind == "id" else name.encode()
                return b"" if header is None else _needed(request, header)

    def content_type(self, body: bytes) -> bytes:
        """JSON, unless the provider sends forms and this looks like one."""
        if self.row.forms and not looks_like_json(body):
            return b"application/x-www-form-urlencoded"
        return b"application/json"

    def write(self, outgoing: Outgoing) -> Headers:
        """Write the signature, its timestamp and id, and the headers with the event's type and id."""
        row, identity = self.row, outgoing.event_id.encode()
        stamp = (row.unit or SECONDS).write(outgoing.now)
        headers = identity_headers(self, outgoing)
        if row.id_header is not None:
            headers[row.id_header] = identity
        if row.timestamp_header is not None:
            headers[row.timestamp_header] = stamp
        for name in row.signed.headers:
            headers.setdefault(name, identity)  # a nonce, of which nobody asks more than to be new
        message = self._message(_as_received(outgoing, tuple(headers.items())), stamp)
        headers[row.header] = row.form.write(self.keys[0].write(message), stamp)
        return tuple(headers.items())


def _as_received(outgoing: Outgoing, headers: Headers) -> Request:
    """Make of what is to be signed the request that it will be, so that both sides read the same parts."""
    return Request(
        method=outgoing.method,
        path="",
        query=outgoing.url.partition("#")[0].partition("?")[2].encode(),
        headers=headers,
        body=outgoing.body,
        url=outgoing.url,
        remote=None,
        received_at=outgoing.now,
    )


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
        mac_headers=frozenset({row.header}) | row.also | row.other_macs,
        needs_url=row.signed.uses("url"),
        type_at=row.type_at,
        id_at=row.id_at,
        challenge=row.challenge,
        greeting=row.greeting,
        row=row,
        keys=tuple(keys),
        tolerance=row.tolerance if tolerance is None else tolerance,
    )


def _key(row: Row, secret: bytes) -> Key:
    if row.make_key is not None:
        return row.make_key(secret)
    if row.ed25519 and secret.startswith(PUBLIC_KEY_MARK):
        return ed25519_key(secret, prefix=row.ed25519)
    if row.ed25519 and secret.startswith(PRIVATE_KEY_MARK):
        return ed25519_pair(secret, prefix=row.ed25519)
    return MacKey(row.decode_key(secret), algorithm=row.algorithm, encoding=row.encoding, prefix=row.prefix)


def _needed(request: Request, name: bytes) -> bytes:
    value = request.header(name)
    if not value:
        raise SignatureError("missing", f"no {name.decode()}")
    return value


def _needed_query(request: Request, name: str) -> bytes:
    value = query_value(request.query, name)
    if not value:
        raise SignatureError("missing", f"no {name} in the query")
    return value.encode()


def sorted_fields(body: bytes) -> list[bytes]:
    """Take a form apart: each name followed by each of its distinct values, both sorted."""
    if body.count(b"&") >= _MAX_FIELDS:
        raise SignatureError("malformed", "too many fields")
    fields: dict[bytes, set[bytes]] = {}
    for pair in body.split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            fields.setdefault(unquote_to_bytes(name), set()).add(unquote_to_bytes(value))
    return [name + value for name, values in sorted(fields.items()) for value in sorted(values)]
