"""How timestamps are written: Unix seconds, milliseconds, or a date and time of RFC 3339."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from relay.errors import SignatureError

_MAX_DIGITS: Final = 15  # enough for milliseconds; beyond it no sender's clock is meant
_MILLISECONDS_FROM: Final = 10**11  # as seconds it is the year 5138, as milliseconds 1973
# One spelling, for fromisoformat() takes weeks, dates alone and times of no zone as well.
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})"
)


@dataclass(frozen=True, slots=True)
class Unit:
    """How a timestamp is written; `read` gives Unix seconds and raises SignatureError."""

    read: Callable[[bytes], float]
    write: Callable[[float], bytes]


def _read_seconds(text: bytes) -> float:
    # Digits alone: no sign, fraction, blank or underscore, all of which int() or float() would take.
    if not text.isdigit() or len(text) > _MAX_DIGITS:
        raise SignatureError("malformed", "the timestamp is no whole number")
    return float(text)


def _read_milliseconds(text: bytes) -> float:
    return _read_seconds(text) / 1000


def _read_either(text: bytes) -> float:
    number = _read_seconds(text)
    return number / 1000 if number >= _MILLISECONDS_FROM else number


def _read_iso(text: bytes) -> float:
    shown = text.decode("ascii", "replace")
    if not _RFC_3339.fullmatch(shown):
        raise SignatureError("malformed", "the timestamp is no date and time with a zone")
    try:
        return datetime.fromisoformat(shown).timestamp()
    except ValueError:
        raise SignatureError("malformed", "the timestamp is no date and time") from None


def _write_iso(now: float) -> bytes:
    return datetime.fromtimestamp(now, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


SECONDS: Final = Unit(read=_read_seconds, write=lambda now: b"%d" % now)
MILLISECONDS: Final = Unit(read=_read_milliseconds, write=lambda now: b"%d" % (now * 1000))
SECONDS_OR_MILLISECONDS: Final = Unit(read=_read_either, write=MILLISECONDS.write)
"""Whichever it must be by its size, for senders that write both or do not say which."""
ISO: Final = Unit(read=_read_iso, write=_write_iso)
