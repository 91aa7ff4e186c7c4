"""Headers and bodies: for people as lines that no sender can forge or colour, for programs as JSON."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

from relay.cli.output.formats import clean, decoded, size
from relay.cli.output.render import Line
from relay.model import Headers

_LONGEST = 4_096
"""Characters of a body, and of one header, that a terminal shows."""

_LINES = 100
"""Lines of a body that a terminal shows."""

_BASE64_LINE = 76


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What of a request is shown, and whether `whole`: a terminal gets the beginning of what is long."""

    headers: bool
    body: bool
    whole: bool

    def lines(self, headers: Headers, body: bytes | None, *, depth: int) -> Iterator[Line]:
        """The headers, and the body below them; a body that is None is the event's own."""
        if self.headers:
            for name, value in headers:
                yield Line(self._cut(f"{decoded(name)}: {decoded(value)}"), depth=depth, style="dim")
        if self.body:
            if body is None:
                yield Line("(the body as it came)", depth=depth, style="dim")
            else:
                yield from self._body(body, depth)

    def _body(self, body: bytes, depth: int) -> Iterator[Line]:
        if not body:
            yield Line("(no body)", depth=depth, style="dim")
            return
        text = _text(body)
        if text is None:
            yield from self._binary(body, depth)
            return
        shown = text if self.whole else text[:_LONGEST]
        found = shown.split("\n")
        cut = found if self.whole else found[:_LINES]
        for line in cut:
            yield Line(clean(line.removesuffix("\r").expandtabs()), depth=depth)
        rest = len(text) - len("\n".join(cut))
        if rest:
            yield Line(f"… and {rest:,} more characters; a pipe or --json shows all", depth, "dim")

    def _binary(self, body: bytes, depth: int) -> Iterator[Line]:
        if not self.whole:
            yield Line(
                f"({size(len(body))} of binary data; a pipe or --json shows it in base64)", depth, "dim"
            )
            return
        yield Line("(no text; in base64)", depth=depth, style="dim")
        encoded = base64.b64encode(body).decode()
        for start in range(0, len(encoded), _BASE64_LINE):
            yield Line(encoded[start : start + _BASE64_LINE], depth=depth)

    def _cut(self, text: str) -> str:
        return text if self.whole or len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


NOTHING = Contents(headers=False, body=False, whole=True)
"""Neither headers nor bodies."""


def _text(body: bytes) -> str | None:
    """A body that is text; one with a NUL in it is none."""
    if b"\0" in body:
        return None
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def headers_json(headers: Headers) -> list[list[str]]:
    """Headers for programs, as pairs in their order."""
    return [[name.decode("latin-1"), value.decode(errors="replace")] for name, value in headers]


def body_json(body: bytes) -> dict[str, object]:
    """A body for programs: its text, or its bytes in base64."""
    try:
        return {"body": body.decode(), "body_encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "body_encoding": "base64"}
