"""`relay explain`, and `relay check --against-journal`: what the file does with what was stored."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli import selection
from relay.cli.open import reading, todays_file
from relay.cli.options import ConfigOption, JournalOption, JsonOption
from relay.cli.output import render
from relay.cli.output.formats import clean, counted, moment
from relay.cli.output.render import Line

if TYPE_CHECKING:
    from relay.config import Configuration
    from relay.explain import Difference, Explanation, Going, Key, Reasoned
    from relay.journal import Reader
    from relay.model import Delivery, Event

_WIDTH = 60
"""Characters of a value that are shown: enough to see why it did not match."""

_SHOWN = 4
"""Values of one expression that are shown."""

_UNPARSED = {
    "too_large": "it is larger than the source's `parse`",
    "too_deep": "it is nested too deeply",
    "invalid": "it is neither JSON nor a form",
}


def explain(
    identifier: Annotated[
        str, typer.Argument(metavar="EVENT", help="evt_..., dlv_... or the provider's own id.")
    ],
    *,
    journal: JournalOption = None,
    config_path: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show where an event goes by today's file, and why.

    For each route of its source whether it matches, and why not; and what differs from where the event went.
    """
    from relay.explain import compare
    from relay.explain import explain as explained

    configuration = todays_file(config_path)
    with reading(journal) as reader:
        events = [event for one in reader.find_event(identifier) if (event := reader.event(one))]
        found = [(event, reader.deliveries_of(event.id)) for event in events]
    if not found:
        render.note(f"no event has the id {identifier}")
        raise typer.Exit(1)
    told = [
        (event, explained(event, configuration), compare(event, before, configuration))
        for event, before in found
    ]
    if as_json:
        render.document({"events": [_json(*one) for one in told]})
        return
    for index, (event, explanation, difference) in enumerate(told):
        gap = [Line("")] if index else []
        render.timeline([*gap, *_lines(event, explanation, difference)])


def _lines(event: Event, found: Explanation | None, difference: Difference) -> Iterator[Line]:
    yield Line(f"{event.id}  {clean(event.source)}  {clean(event.type or '(no type)')}", style="bold")
    if found is None:
        what = "an alert, which no route plans" if event.source == "relay" else "a source that left the file"
        yield Line(f"{clean(event.source)} is {what}", depth=1)
        return
    if found.unparsed:
        why = _UNPARSED.get(found.unparsed, found.unparsed)
        yield Line(f"body is null in expressions: {why}", depth=1, style="yellow")
    if found.dedup is not None:
        yield Line(f"dedup key  {_key(found.dedup, 'none: it is never a duplicate')}", depth=1)
    if not found.routes:
        yield Line("no route has this source", depth=1)
    for one in found.routes:
        going = [step for step in found.going if step.route == one.trial.route.name]
        yield from _route(one, going)
    if event.reason == "conflict":
        yield Line("kept as filtered all the same: its dedup key was seen with another body", depth=1)
    yield from _differences(difference)


def _route(one: Reasoned, going: list[Going]) -> Iterator[Line]:
    from relay.routing import Fate

    trial = one.trial
    fate = trial.fate
    style = {Fate.MATCHED: "green", Fate.FAILED: "bold red"}.get(fate, "dim")
    yield Line(f"{fate.value:<11}  {clean(trial.route.name)}{_why(one)}", depth=1, style=style)
    for step in going:
        yield Line(f"-> {clean(step.destination)}{' (transformed)' * step.transform}", depth=3)
        if step.lane is not None:
            yield Line(f"order key {_key(step.lane, 'none: in no order')}", depth=5, style="dim")
        if step.problem:
            yield Line(f"cannot be rendered, and would be dead: {clean(step.problem)}", depth=5, style="red")


def _why(one: Reasoned) -> str:
    from relay.routing import Fate

    trial = one.trial
    if trial.fate is Fate.HIDDEN:
        return ": an earlier route matched and says stop"
    if trial.when is None:
        return "" if trial.route.when else ": it has no `when`"
    text = clean(trial.route.when[trial.when].source)
    number = f" (number {trial.when + 1} of its list)" if len(trial.route.when) > 1 else ""
    if trial.error is not None:
        return f": `{text}`{number}: {clean(trial.error)}"
    gave = "false" if trial.given is False else f"{_value(trial.given)}, which is not true"
    seen = ", ".join(f"{clean(path)} is {_value(value)}" for path, value in one.inputs[:_SHOWN])
    return f": `{text}`{number} is {gave}" + (f" ({seen})" if seen else "")


def _value(value: object) -> str:
    text = clean(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _key(key: Key, missing: str) -> str:
    if key.error is not None:
        return f"{missing} ({clean(key.error)})"
    return missing if not key.shown else _value(key.shown)


def _differences(difference: Difference) -> Iterator[Line]:
    for route, destination in difference.removed:
        text = f"it went to {clean(destination)} by {clean(route)}, and would not by today's file"
        yield Line(text, depth=1, style="yellow")
    for route, destination in difference.added:
        text = (
            f"it did not go to {clean(destination)}, and would by {clean(route)} (`relay replay --reroute`)"
        )
        yield Line(text, depth=1, style="yellow")


def _json(event: Event, found: Explanation | None, difference: Difference) -> dict[str, object]:
    return {
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "in_file": found is not None,
        "body_unparsed": found.unparsed if found else None,
        "dedup_key": _key_json(found.dedup) if found else None,
        "routes": [_route_json(one, found.going) for one in found.routes] if found else [],
        **_difference_json(difference),
    }


def _route_json(one: Reasoned, going: tuple[Going, ...]) -> dict[str, object]:
    trial = one.trial
    return {
        "route": trial.route.name,
        "fate": trial.fate.value,
        "when": None if trial.when is None else trial.route.when[trial.when].source,
        "error": trial.error,
        "inputs": {path: _value(value) for path, value in one.inputs},
        "to": [
            {
                "destination": step.destination,
                "transform": step.transform,
                "order_key": _key_json(step.lane),
                "problem": step.problem,
            }
            for step in going
            if step.route == trial.route.name
        ],
    }


def _key_json(key: Key | None) -> dict[str, object] | None:
    return None if key is None else {"key": key.shown, "error": key.error}


def _difference_json(difference: Difference) -> dict[str, object]:
    return {
        name: [{"route": route, what: value} for route, value in pairs]
        for name, what, pairs in (
            ("added", "destination", difference.added),
            ("removed", "destination", difference.removed),
            ("failing", "error", difference.failing),
        )
    }


def against_journal(configuration: Configuration, *, journal: str | None, last: int) -> None:
    """Print what the last stored events would do otherwise under a configuration, as a diff."""
    from relay.explain import compare
    from relay.journal import Filter

    looked = 0
    found: list[Difference] = []
    with reading(journal) as reader:
        events = islice(selection.all_events(reader, Filter()), last)
        for event in render.progress(events, total=last, what="check"):
            if event.source == "relay":
                continue
            looked += 1
            before: list[Delivery] = reader.deliveries_of(event.id)
            difference = compare(event, before, configuration)
            if not difference.is_empty:
                found.append(difference)
        orders = _orders(configuration, reader)
    for difference in reversed(found):
        render.timeline(list(_diff(difference)))
    _summary(found, looked)
    for line in orders:
        typer.echo(line)


def _orders(configuration: Configuration, reader: Reader) -> list[str]:
    """Where the file orders otherwise than what is pending was planned."""
    from relay.routing import changed_orders

    changed = changed_orders(reader.orders() or {}, configuration.orders)
    pending = {one.name: one.pending for one in reader.status().destinations}
    return [
        f"{clean(name)}: `order` changes with {counted(pending[name], 'delivery', 'deliveries')} pending:"
        " new ones wait until these have ended, but for those that cannot go by themselves."
        for name in sorted(changed)
        if pending.get(name)
    ]


def _diff(difference: Difference) -> Iterator[Line]:
    event = difference.event
    names = "  ".join(clean(part) for part in (event.id, event.source, event.type, event.provider_id) if part)
    yield Line(f"@ {names}  {moment(event.received_at)}", style="bold")
    for route, destination in difference.removed:
        yield Line(f"- {clean(destination)}  (went by {clean(route)})", style="red")
    for route, destination in difference.added:
        yield Line(f"+ {clean(destination)}  (by {clean(route)})", style="green")
    for route, error in difference.failing:
        yield Line(f"! {clean(route)}: {clean(error)}", style="yellow")


def _summary(found: list[Difference], looked: int) -> None:
    counts = Counter(
        (sign, destination)
        for one in found
        for sign, pairs in (("-", one.removed), ("+", one.added))
        for _, destination in pairs
    )
    elsewhere = sum(bool(one.added or one.removed) for one in found)
    failing = sum(bool(one.failing) for one in found)
    typer.echo(f"Of the last {counted(looked, 'event')}, {elsewhere:,} would go elsewhere than before.")
    for (sign, destination), count in sorted(counts.items(), key=lambda one: (one[0][1], one[0][0])):
        typer.echo(f"  {sign}{count:,} {clean(destination)}")
    if failing:
        typer.echo(f"On {counted(failing, 'event')}, an expression fails.")
