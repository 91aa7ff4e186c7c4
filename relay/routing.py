"""Which routes an event takes, and what a transform makes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from relay.errors import ExpressionError
from relay.expressions import Program, Template, View, to_json
from relay.model import Event, Headers, Rendered, text_hash

# What a header's value may hold (RFC 9110, 5.5): no control character but the tab.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

_LONGEST_LANE = 200
"""Characters of an order key up to which it names its lane itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """What is sent in place of the event: `json` or `text`, and headers beside those that came.

    With neither, the body stays as it came. Header names are as the operator wrote them. `subject`
    is an email's: a header of that name in what is rendered, in one line.
    """

    json: Template | None = None
    text: Template | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, Template], ...] = ()
    subject: Template | None = None

    def render(self, view: View, event_headers: Headers, mac_headers: frozenset[bytes]) -> Rendered:
        """Fill the holes from one event. Raises ExpressionError; what it returns is sent on every retry."""
        own = [(name.lower().encode(), _header(name, value, view)) for name, value in self.headers]
        if self.subject is not None:
            # The first line of a commit message is a subject; a header of HTTP is not mended like that.
            own.append((b"subject", " ".join(_CONTROL.sub(" ", self.subject.text(view)).split()).encode()))
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
class Order:
    """One after another where `key` has the same value; `hold`: a dead one stops those behind it."""

    key: Program
    hold: bool

    def lane(self, view: View) -> str | None:
        """The lane of one event, which a key of null has not; raises ExpressionError.

        A long key is replaced by its hash: a lane's name is an index entry in the journal.
        """
        text = key_text(self.key.evaluate(view))
        return text if text is None or len(text) <= _LONGEST_LANE else text_hash(text)


def key_text(value: object) -> str | None:
    """Give what an expression for a key gave as text: text as it is, all else as JSON, null as None."""
    return value if value is None or isinstance(value, str) else to_json(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """From one source to some destinations, when every one of its expressions is true."""

    name: str
    source: str
    when: tuple[Program, ...] = ()
    to: tuple[str, ...]
    stop: bool = False
    transform: Transform | None = None
    order: Order | None = None


def changed_orders(
    before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]
) -> Mapping[str, frozenset[str]]:
    """By destination, the routes whose deliveries go by another key than what was planned before.

    A route that is new to a destination goes by another one where any route went by another.
    """
    changed = {}
    for name, routes in now.items():
        old = before.get(name, {})
        changed[name] = frozenset(
            route
            for route, key in routes.items()
            if any(other != key for other in ([old[route]] if route in old else old.values()))
        )
    return {name: routes for name, routes in changed.items() if routes}


class Fate(StrEnum):
    """How a route fared on an event."""

    MATCHED = "matched"
    UNMATCHED = "not matched"
    FAILED = "error"
    HIDDEN = "hidden"


@dataclass(frozen=True, slots=True)
class Trial:
    """One route tried on one event.

    when   which expression of the route decided: the one that was not true, or that failed
    given  what it gave, where it was not true
    error  why it failed; of a hidden route, nothing was asked
    """

    route: Route
    fate: Fate
    when: int | None = None
    given: object = None
    error: str | None = None


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
    for trial in trials(routes, view):
        if trial.fate is Fate.MATCHED:
            taken.append(trial.route)
        elif trial.fate is Fate.FAILED:
            errors.append((trial.route.name, trial.error or ""))
        elif trial.fate is Fate.HIDDEN:
            break
    return Match(tuple(taken), tuple(errors))


def trials(routes: Sequence[Route], view: View) -> Iterator[Trial]:
    """Each route with what came of it, in their order."""
    stopped = False
    for route in routes:
        trial = Trial(route, Fate.HIDDEN) if stopped else _try(route, view)
        stopped = stopped or (route.stop and trial.fate is Fate.MATCHED)
        yield trial


def _try(route: Route, view: View) -> Trial:
    for index, program in enumerate(route.when):
        try:
            given = program.evaluate(view)
        except ExpressionError as error:
            return Trial(route, Fate.FAILED, index, error=str(error))
        if given is not True:
            return Trial(route, Fate.UNMATCHED, index, given)
    return Trial(route, Fate.MATCHED)


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
