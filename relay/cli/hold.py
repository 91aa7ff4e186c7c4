"""Commands on a whole destination: `pause` and `resume`."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Annotated

import typer

from relay.cli import render
from relay.cli.access import file_destinations, reading, writing
from relay.cli.options import ConfigOption, JournalOption
from relay.cli.text import clean, counted
from relay.cli.waits import kept_back
from relay.errors import UsageError

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

    Its events are taken and kept, and do not age meanwhile.
    """
    _refuse_unknown(destination, journal, config_path)
    with writing(journal) as opened:
        done = asyncio.run(opened.pause(destination, reason=reason))
    if not done:
        render.note(f"{destination} was paused already")
        raise typer.Exit(1)
    typer.echo(
        f"{clean(destination)} is paused: its events are kept until `relay resume {clean(destination)}`"
    )


def resume(
    destination: DestinationArgument, *, journal: JournalOption = None, config_path: ConfigOption = None
) -> None:
    """Go on with a destination that is paused, or that asked to wait.

    What waits for it is due at once, in its order and within its limits, whatever wait a 429 asked for.
    """
    _refuse_unknown(destination, journal, config_path)
    with writing(journal) as opened:
        waiting = asyncio.run(opened.resume(destination))
    with reading(journal) as reader:
        still = kept_back(reader.standing(destination), time.time())
    if waiting is None:
        render.note(f"{destination} was neither paused nor asked to wait" + (f"; {still}" if still else ""))
        raise typer.Exit(1)
    meant = counted(waiting, "delivery", "deliveries")
    if still:
        typer.echo(f"{clean(destination)}: {meant} may go on, but {still}")
    else:
        typer.echo(f"{clean(destination)} goes on: {meant} due now")


def _refuse_unknown(destination: str, journal: str | None, config_path: Path | None) -> None:
    """Refuse a name that neither the file nor the journal has: it is mistyped."""
    known = set(file_destinations(config_path) or ())
    if destination in known:
        return
    with reading(journal) as reader:
        known |= {one.name for one in reader.status().destinations}
    if destination not in known:
        raise UsageError(f"no destination {destination!r}; there are: {', '.join(sorted(known)) or 'none'}")
