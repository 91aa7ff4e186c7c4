"""`relay journal`: what is done to a journal as a whole."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import typer

from relay.cli.access import load_settings
from relay.cli.options import JournalOption

commands = typer.Typer(
    help="Upgrade a journal, remove what is old, move it to PostgreSQL.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@commands.command()
def upgrade(*, journal: JournalOption = None) -> None:
    """Bring the journal's tables up to date, and make them in an empty PostgreSQL database.

    Older nodes may go on meanwhile, unless it says that they must end first.
    """
    from relay.journal import upgrade as bring_up

    before, now = bring_up(load_settings(journal=journal).journal)
    if before is None:
        typer.echo(f"made a journal, its tables at version {now}")
    elif before == now:
        typer.echo(f"nothing to do: the tables are at version {now}")
    else:
        typer.echo(f"upgraded the tables from version {before} to {now}")
