"""How times, sizes and strangers' text are written for people."""

from __future__ import annotations

from datetime import UTC, datetime

_KIB = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def clean(text: str) -> str:
    r"""The text with everything a terminal could obey written out, as `\x1b` is.

    Covers control characters, directional marks and lone surrogates: what a sender wrote can
    neither colour nor reorder nor break a line.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def decoded(data: bytes) -> str:
    """Bytes from the wire as text that is safe to show; what is no UTF-8 becomes U+FFFD."""
    return clean(data.decode(errors="replace"))


def first_line(data: bytes, *, width: int = 200) -> str:
    """The first line of a response that says something, cut to `width` characters."""
    for line in data.decode(errors="replace").splitlines():
        if line.strip():
            short = line.strip()
            return clean(short if len(short) <= width else short[: width - 1] + "…")
    return ""


def iso(at: float | None) -> str | None:
    """A time for programs: RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(at: float | None) -> str:
    """A time for people, in UTC as the logs have it."""
    return "" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def instant(at: float) -> str:
    """A time for people to the millisecond, where what follows may come within the second."""
    return (iso(at) or "").replace("T", " ")


def span(seconds: float) -> str:
    """A duration in its two largest units: `4m 12s`, `2d 3h`, `85ms`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    if seconds < 10:  # noqa: PLR2004 - below this a tenth of a second says something
        return f"{seconds:.1f}s"
    whole = int(seconds)
    for unit, name, below, part in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "m"),
        (_MINUTE, "m", 1, "s"),
    ):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit}{name} {rest}{part}" if rest else f"{whole // unit}{name}"
    return f"{whole}s"


def relative(at: float, now: float) -> str:
    """How far away a time is: `in 4m 12s`, `12s ago`, `now`."""
    if abs(at - now) < 1:
        return "now"
    return f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"


def per(rate: float) -> str:
    """So many a second in the largest unit that leaves one at least, as the file has it: `100/s`, `10/m`."""
    for name, seconds in (("s", 1), ("m", _MINUTE)):
        if rate * seconds >= 1:
            return f"{rate * seconds:,.4g}/{name}"
    return f"{rate * _HOUR:,.4g}/h"


def size(count: int) -> str:
    """A number of bytes: `512 B`, `1.2 KiB`."""
    if count < _KIB:
        return f"{count} B"
    power = next((power for power in (1, 2) if count < _KIB ** (power + 1)), 3)
    return f"{count / _KIB**power:.1f} {('KiB', 'MiB', 'GiB')[power - 1]}"


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 delivery`, `1,204 deliveries`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
