"""Which routes an event takes, and what a transform makes of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.errors import ExpressionError
from relay.expressions import Program, Template, View, to_json
from relay.model import Event, Headers, Rendered

# What a header's value may hold (RFC 9110, 5.5): no control character but the tab.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """What is sent in place of the event: `json` or `text`, and headers beside those that came.

    With neither, the body stays as it came. Header names are as the operator wrote them.
    """

    json: Template | None = None
    text: Template | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, Template], ...] = ()

    def render(self, view: View, event_headers: Headers, mac_headers: frozenset[bytes]) -> Rendered:
        """Fill the holes from one event. Raises ExpressionError; what it returns is sent on every retry."""
        own = [(name.lower().encode(), _header(name, value, view)) for name, value in self.headers]
        body, content_type = self._body(view)
        replaced = mac_headers | {name for name, _ in own}
        if content_type is not None:
            replaced |= {b"content-type", b"content-encoding"}
            if all(name != b"content-type" for name, _ in own):
                own.insert(0, (b"content-type", content_type.encode()))
        kept = [(name, value) for name, value in event_headers if name not in replaced]
        return Rendered(headers=(*kept, *own), body=body)

    def _body(self, view: View) -> tuple[bytes, str | None]:
        if self.json is not None:
            return to_json(self.json.render(view)).encode(), self.content_type or "application/json"
        if self.text is not None:
            return self.text.text(view).encode(), self.content_type or "text/plain; charset=utf-8"
        return view.payload, self.content_type


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From one source to some destinations, when every one of its expressions is true."""

    name: str
    source: str
    when: tuple[Program, ...] = ()
    to: tuple[str, ...]
    stop: bool = False
    transform: Transform | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """The routes that an event takes, and the name and message of each that failed on it."""

    routes: tuple[Route, ...]
    errors: tuple[tuple[str, str], ...]


def match(routes: Sequence[Route], view: View) -> Match:
    """Try the routes in their order, all of them, or up to the first that matches and says `stop`.

    A `when` that gives anything but true is no match; one that fails is none either, and an error.
    """
    taken: list[Route] = []
    errors: list[tuple[str, str]] = []
    for route in routes:
        try:
            taking = all(program.evaluate(view) is True for program in route.when)
        except ExpressionError as error:
            errors.append((route.name, str(error)))
            continue
        if taking:
            taken.append(route)
            if route.stop:
                break
    return Match(tuple(taken), tuple(errors))


def view_of(event: Event, placeholders: Mapping[str, str], parse_limit: int) -> View:
    """A stored event as expressions see it; `placeholders` are what its source's path caught."""
    view = View(
        source=event.source,
        event_id=event.id,
        received_at=event.received_at,
        method=event.method,
        query=event.query,
        headers=event.headers,
        body=event.body,
        placeholders=placeholders,
        parse_limit=parse_limit,
    )
    view.type, view.provider_id = event.type, event.provider_id
    return view


def _header(name: str, template: Template, view: View) -> bytes:
    value = template.text(view)
    if _CONTROL.search(value):
        raise ExpressionError(f"header {name}: the value has a line break or another control character")
    return value.strip().encode()
