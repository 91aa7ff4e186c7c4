"""Commands on a whole destination: `pause` and `resume`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.open import file_destinations, reading, writing
from relay.cli.options import ConfigOption, JournalOption
from relay.cli.output import render
from relay.cli.output.formats import clean, counted
from relay.cli.output.waits import kept_back
from relay.cli.wait_until_taken import all_have_taken
from relay.errors import UsageError

if TYPE_CHECKING:
    from relay.journal import StateChange

DestinationArgument = Annotated[str, typer.Argument(metavar="DEST", help="The destination's name.")]


def pause(
    destination: DestinationArgument,
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for those who look later.")
    ] = "operator",
    journal: JournalOption = None,
    config_path: ConfigOption = None,
) -> None:
    """Send nothing to a destination until it is resumed.

    Its events are taken and kept, and do not age meanwhile. When the command ends with exit code 0, no
    process begins an attempt any more; requests that are under way end.
    """
    _refuse_unknown(destination, journal, config_path)
    with writing(journal) as opened:
        change = asyncio.run(opened.pause(destination, reason=reason))
    if not change.changed:
        render.note(f"{clean(destination)} was paused already")
    is_taken = _is_taken(change, journal)
    if change.changed:
        typer.echo(
            f"{clean(destination)} is paused: its events are kept until `relay resume {clean(destination)}`"
        )
    if not (change.changed and is_taken):
        raise typer.Exit(1)


def resume(
    destination: DestinationArgument, *, journal: JournalOption = None, config_path: ConfigOption = None
) -> None:
    """Send to a paused destination again.

    It also ends the wait that a 429 asked for. What waits is due at once, in its order and within its limits.
    """
    _refuse_unknown(destination, journal, config_path)
    with writing(journal) as opened:
        change = asyncio.run(opened.resume(destination))
    with reading(journal) as reader:
        still = kept_back(change.standing, reader.now())
    if not change.changed:
        render.note(
            f"{clean(destination)} was neither paused nor asked to wait" + (f"; {still}" if still else "")
        )
        raise typer.Exit(1)
    is_taken = _is_taken(change, journal)
    meant = counted(change.due, "delivery", "deliveries")
    if still:
        typer.echo(f"{clean(destination)}: {meant} may go on, but {still}")
    else:
        typer.echo(f"{clean(destination)} goes on: {meant} due now")
    if not is_taken:
        raise typer.Exit(1)


def _is_taken(change: StateChange, journal: str | None) -> bool:
    """Whether all processes go by it."""
    with reading(journal) as reader:
        return change.number is None or all_have_taken(reader, change.number)


def _refuse_unknown(destination: str, journal: str | None, config_path: Path | None) -> None:
    """Refuse a name that neither the file nor the journal has: it is mistyped."""
    known = set(file_destinations(config_path) or ())
    if destination in known:
        return
    with reading(journal) as reader:
        known |= {one.name for one in reader.status().destinations}
    if destination not in known:
        raise UsageError(f"no destination {destination!r}; there are: {', '.join(sorted(known)) or 'none'}")
