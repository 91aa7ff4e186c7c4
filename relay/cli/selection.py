"""Which deliveries a command is about: those of the IDs, or those that the filter finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import typer

from relay.cli.open import now_of
from relay.cli.options import make_filter
from relay.cli.output import render
from relay.errors import UsageError
from relay.model import Delivery, Event

if TYPE_CHECKING:
    from relay.journal import Filter, Reader

BATCH = 500
"""Rows a page and a transaction: small, so that the service beside it never waits long."""

_T = TypeVar("_T")


def batches(items: Iterable[_T], size: int = BATCH) -> Iterator[list[_T]]:
    """Cut a stream into lists of at most `size`."""
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch


def filter_unless(ids: list[str] | None, *, journal: str | None, **filters: str | None) -> Filter:
    """The filter, where there are no IDs; one of the two must say what is meant."""
    given = [name for name, value in filters.items() if value is not None]
    if ids and given:
        raise UsageError(f"IDs and filters (--{given[0]}) exclude each other")
    if not ids and not given:
        raise UsageError("say which: IDs, or filters such as --destination, --state dead or --since 2h")
    return make_filter(now=partial(now_of, journal), **filters)


def refuse_unknown(ids: list[str]) -> None:
    """Change nothing at all when an ID is mistyped."""
    if ids:
        render.note(f"nothing has the id {', '.join(ids)}; nothing was changed")
        raise typer.Exit(1)


def note_unknown(reader: Reader, chosen: Filter) -> None:
    """Where the filter found nothing: say that a name in it is mistyped, if the journal has none such."""
    status = reader.status()
    for kind, name, known in (
        ("source", chosen.source, [one.name for one in status.sources]),
        ("destination", chosen.destination, [one.name for one in status.destinations]),
    ):
        if name is not None and name not in known:
            names = ", ".join(sorted(known)) or "none"
            render.note(f"the journal knows no {kind} {name!r}; it has: {names}")


def known_deliveries(reader: Reader, ids: list[str]) -> list[Delivery]:
    """The deliveries that the IDs name; the command ends where one of them names nothing."""
    found, unknown = deliveries_of_ids(reader, ids)
    refuse_unknown(unknown)
    return found


def deliveries_of_ids(reader: Reader, identifiers: Sequence[str]) -> tuple[list[Delivery], list[str]]:
    """What the IDs name, each delivery once; and the IDs that name nothing.

    An event's ID, or the provider's own, stands for all its deliveries; `dlv_...` for itself.
    """
    found: dict[str, Delivery] = {}
    unknown = []
    for identifier in identifiers:
        events = reader.find_event(identifier)
        deliveries = [one for event_id in events for one in reader.deliveries_of(event_id)]
        if identifier.startswith("dlv_"):
            deliveries = [one for one in deliveries if one.id == identifier]
        found.update((one.id, one) for one in deliveries)
        if not events:
            unknown.append(identifier)
    return list(found.values()), unknown


def events_of_ids(reader: Reader, identifiers: Sequence[str]) -> tuple[list[Event], list[str]]:
    """The events that the IDs name, each once; and the IDs that name nothing."""
    found: dict[str, Event] = {}
    unknown = []
    for identifier in identifiers:
        events = [event for event_id in reader.find_event(identifier) if (event := reader.event(event_id))]
        found.update((event.id, event) for event in events)
        if not events:
            unknown.append(identifier)
    return list(found.values()), unknown


def all_deliveries(reader: Reader, chosen: Filter) -> Iterator[Delivery]:
    """Every delivery that the filter finds, newest first, read a page at a time."""
    return _pages(lambda before: reader.deliveries(chosen, BATCH, before), lambda one: one.id)


def all_events(reader: Reader, chosen: Filter) -> Iterator[Event]:
    """Every event that the filter finds, newest first, read a page at a time."""
    return _pages(lambda before: reader.events(chosen, BATCH, before), lambda one: one.id)


def _pages(page: Callable[[str | None], Sequence[_T]], place: Callable[[_T], str]) -> Iterator[_T]:
    before: str | None = None
    while rows := page(before):
        yield from rows
        if len(rows) < BATCH:
            return
        before = place(rows[-1])
