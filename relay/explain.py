"""What a configuration does with a stored event: each route and why, and where that is not what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from relay.config import Configuration, Destination, Http, Source
from relay.errors import ExpressionError
from relay.expressions import Program, View
from relay.model import Delivery, Event
from relay.routing import Fate, Order, Route, Trial, trials, view_of

BY_HAND = "replay"
"""The route's name of a delivery that no route ever planned."""

CONFLICT = "conflict"
"""Why an event goes nowhere whatever its routes say: its dedup key came before with another body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What an expression for a key gave: its text, or why there is none.

    `shown` is the text for people, without what a variable of the file brought into it.
    """

    text: str | None
    shown: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """One delivery that would be planned.

    lane     the key of its order lane; None where it is unordered
    hold     whether it would stop its lane when it dies
    problem  why nothing could be sent: the transform or the address cannot be rendered
    """

    route: str
    destination: str
    transform: bool
    lane: Key | None
    hold: bool
    problem: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoned:
    """A route's trial, and the values of what its deciding expression names."""

    trial: Trial
    inputs: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What becomes of one event by today's file.

    unparsed  why expressions see no body, where it is not empty: `too_large`, `too_deep`, `invalid`
    dedup     its dedup key; None where the source has no dedup
    """

    event: Event
    unparsed: str | None
    dedup: Key | None
    routes: tuple[Reasoned, ...]
    going: tuple[Going, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where an event would go by today's file and did not go, the other way round, and what would fail.

    Each a pair of route and destination; `failing` pairs a route with the reason.
    """

    event: Event
    added: tuple[tuple[str, str], ...]
    removed: tuple[tuple[str, str], ...]
    failing: tuple[tuple[str, str], ...]

    @property
    def is_empty(self) -> bool:
        """Whether today's file does what was done."""
        return not (self.added or self.removed or self.failing)


def explain(event: Event, configuration: Configuration) -> Explanation | None:
    """Every route of the event's source tried on it; None where the source is not in the file."""
    source = configuration.sources.get(event.source)
    if source is None:
        return None
    view = view_of(event, source.path.match(event.path) or {}, source.parse)
    tried = tuple(trials(configuration.routes.get(event.source, ()), view))
    dedup = _dedup(source, view)
    going = tuple(_going(tried, event, source, configuration, view))
    return Explanation(
        event=event,
        unparsed=view.parse_error,
        dedup=dedup,
        routes=tuple(Reasoned(trial=_masked(trial), inputs=_inputs(trial, view)) for trial in tried),
        going=going,
    )


def order_of(event: Event, destination: str, configuration: Configuration) -> tuple[str | None, bool]:
    """The lane in which an event would go to a destination by no route, and whether it would hold it."""
    source, order = configuration.sources.get(event.source), configuration.destinations[destination].order
    if source is None or order is None:
        return None, False
    view = view_of(event, source.path.match(event.path) or {}, source.parse)
    lane = _lane(order, view).text
    return lane, lane is not None and order.hold


def compare(event: Event, before: Iterable[Delivery], configuration: Configuration) -> Difference:
    """Where today's file would send an event that was not sent there, and the other way round.

    A route that only has another name now makes no difference; what was sent by hand was nobody's rule.
    """
    went = tuple(dict.fromkeys((one.route, one.destination) for one in before if one.route != BY_HAND))
    explained = explain(event, configuration)
    goes, failing = _plan(explained)
    counted = Counter(to for _, to in goes), Counter(to for _, to in went)
    return Difference(
        event=event,
        added=tuple(_beyond(goes, counted[0] - counted[1], went)),
        removed=tuple(_beyond(went, counted[1] - counted[0], goes)),
        failing=failing,
    )


def _plan(found: Explanation | None) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    """The routes and destinations that an event takes, and what fails on it."""
    if found is None or found.event.reason == CONFLICT:
        return (), ()
    goes = tuple((one.route, one.destination) for one in found.going)
    failed = [(one.trial.route.name, one.trial.error) for one in found.routes if one.trial.error]
    failed += [(one.route, f"{one.destination}: {one.problem}") for one in found.going if one.problem]
    return goes, tuple((route, reason) for route, reason in failed if reason)


def _beyond(
    pairs: tuple[tuple[str, str], ...], surplus: Counter[str], others: tuple[tuple[str, str], ...]
) -> Iterator[tuple[str, str]]:
    """So many pairs of each destination as the surplus says, first those that the others do not have."""
    for pair in sorted(pairs, key=lambda pair: pair in others):
        if surplus[pair[1]] > 0:
            surplus[pair[1]] -= 1
            yield pair


def _masked(trial: Trial) -> Trial:
    """The trial without what a variable of the file brought into the value."""
    if trial.when is None or trial.given is None:
        return trial
    return replace(trial, given=trial.route.when[trial.when].hidden.mask(trial.given))


def _inputs(trial: Trial, view: View) -> tuple[tuple[str, object], ...]:
    if trial.when is None or trial.fate is not Fate.UNMATCHED:
        return ()
    return trial.route.when[trial.when].inputs(view)


def _going(
    tried: Iterable[Trial], event: Event, source: Source, configuration: Configuration, view: View
) -> Iterator[Going]:
    for trial in tried:
        if trial.fate is not Fate.MATCHED:
            continue
        route = trial.route
        for name in route.to:
            destination = configuration.destinations[name]
            order = route.order or destination.order
            yield Going(
                route=route.name,
                destination=name,
                transform=route.transform is not None,
                lane=None if order is None else _lane(order, view),
                hold=order is not None and order.hold,
                problem=_problem(route, event, source, destination, view),
            )


def _problem(route: Route, event: Event, source: Source, destination: Destination, view: View) -> str | None:
    try:
        if route.transform is not None:
            route.transform.render(view, event.headers, source.scheme.mac_headers)
        target = destination.target
        if isinstance(target, Http):
            target.url.text(view)
    except ExpressionError as error:
        return str(error)
    return None


def _lane(order: Order, view: View) -> Key:
    try:
        return _key(order.lane(view), order.key)
    except ExpressionError as error:
        return Key(text=None, error=str(error))


def _key(text: str | None, program: Program | None) -> Key:
    return Key(text=text, shown=text if text is None or program is None else program.hidden.text(text))


def _dedup(source: Source, view: View) -> Key | None:
    if source.dedup is None:
        return None
    try:
        return _key(source.dedup.key_of(view), source.dedup.key)
    except ExpressionError as error:
        return Key(text=None, error=str(error))
