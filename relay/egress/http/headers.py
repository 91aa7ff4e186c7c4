"""The headers of an outgoing request: the sender's, less what must not pass, plus what Relay says."""

from __future__ import annotations

import os
import re
from functools import lru_cache  # noqa: TID251 - its keys are of the configuration
from hashlib import blake2b

from relay.model import Delivery, Event, Headers, Rendered

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_OWN = frozenset(
    {
        b"idempotency-key",
        b"relay-attempt",
        b"relay-delivery-id",
        b"relay-event-id",
        b"relay-source",
        b"traceparent",
    }
)
_ADDRESSED_TO_RELAY = frozenset({b"authorization", b"content-length", b"cookie", b"host"})
# A destination may name a Host or Authorization of its own, but framing and Relay's names are not its to set.
_NEVER_EXTRA = _HOP_BY_HOP | _OWN | {b"content-length"}

_LONGEST_NOTE = 500
"""Characters of the names in a note, which is stored with the attempt."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_TRACEPARENT = re.compile(
    rb"(?!ff|00.{53}-)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)


def outbound_headers(
    event: Event,
    delivery: Delivery,
    *,
    extra: Headers,
    rendered: Rendered | None,
    secret_headers: frozenset[bytes],
) -> tuple[Headers, str | None]:
    """Return the headers of an attempt, in the order received, and a note on what could not be sent.

    `extra` are the destination's own, in place of the sender's by these names; `secret_headers` are
    those by which the sender authenticated. `Content-Length` comes with the body, `Host` with the URL.
    The sender's trace goes on, or one of the event's own begins.
    """
    dropped, own = _plan(extra, secret_headers)
    source = event.headers if rendered is None else rendered.headers
    named = [value for name, value in source if name == b"connection"]
    if named:
        dropped = dropped | {part.strip().lower() for part in b",".join(named).split(b",")}
    kept, note = _sendable([header for header in source if header[0] not in dropped])
    kept += own
    kept += (
        (b"idempotency-key", delivery.key.encode()),
        (b"relay-event-id", event.id.encode()),
        (b"relay-delivery-id", delivery.id.encode()),
        (b"relay-source", event.source.encode()),
        (b"relay-attempt", b"%d" % delivery.attempts),
        (b"traceparent", _traceparent(event)),
    )
    return tuple(kept), note


@lru_cache(maxsize=1024)
def _plan(extra: Headers, secret_headers: frozenset[bytes]) -> tuple[frozenset[bytes], Headers]:
    """Work out, once for a destination and scheme, which names to drop and which headers to add."""
    own = tuple((name.lower(), value) for name, value in extra if name.lower() not in _NEVER_EXTRA)
    dropped = _HOP_BY_HOP | _OWN | _ADDRESSED_TO_RELAY | secret_headers | {name for name, _ in own}
    return dropped, own


def _sendable(headers: list[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], str | None]:
    """Leave out headers that are no UTF-8 or hold control characters; one look at all is the usual case."""
    if _is_sendable(b" ".join([part for header in headers for part in header])):
        return headers, None
    fit: list[tuple[bytes, bytes]] = []
    unfit: list[tuple[bytes, bytes]] = []
    for header in headers:
        (fit if _is_sendable(b" ".join(header)) else unfit).append(header)
    names = ", ".join(dict.fromkeys(ascii(name.decode("latin-1"))[1:-1] for name, _ in unfit))
    return fit, f"not sent, since not UTF-8 text: {names[:_LONGEST_NOTE]}"


def _is_sendable(text: bytes) -> bool:
    """Tell whether this is UTF-8 without control characters (a tab is none)."""
    if _CONTROL.search(text) is not None:
        return False
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _traceparent(event: Event) -> bytes:
    """Carry the sender's trace on with a span of this attempt, or begin one (W3C Trace Context).

    A trace that Relay begins is derived from the event, so that all its deliveries and attempts share it.
    """
    for name, value in event.headers:
        if name == b"traceparent" and (match := _TRACEPARENT.fullmatch(value)) is not None:
            trace, flags = match.groups()
            return b"00-%b-%b-%b" % (trace, _span(), flags)
    trace = blake2b(event.id.encode(), digest_size=16).hexdigest().encode()
    return b"00-%b-%b-01" % (trace, _span())


def _span() -> bytes:
    """Make up a span id."""
    return os.urandom(8).hex().encode()
