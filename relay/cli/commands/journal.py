"""`relay journal`: what is done to a journal as a whole."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.bulk import announce
from relay.cli.commands.status_ledger import show_ledger, show_losses
from relay.cli.open import load_settings, now_of, reading, writing
from relay.cli.options import DryRunOption, JournalOption, YesOption, point_in_time
from relay.cli.output import render
from relay.cli.output.formats import counted
from relay.errors import UsageError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from relay.journal import Kind

_EVERY = 5.0
"""Seconds between two lines about the same table."""

commands = typer.Typer(
    help="Upgrade, purge or move a journal; accept a loss.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)


@commands.command()
def upgrade(*, journal: JournalOption = None) -> None:
    """Make or upgrade the tables of a journal.

    In an empty PostgreSQL database it makes them. Older nodes may run meanwhile, unless the command says that
    they must stop first.
    """
    from relay.journal import upgrade as bring_up

    before, now = bring_up(load_settings(journal=journal).journal)
    if before is None:
        typer.echo(f"made a journal, its tables at version {now}")
    elif before == now:
        typer.echo(f"nothing to do: the tables are at version {now}")
    else:
        typer.echo(f"upgraded the tables from version {before} to {now}")


@commands.command()
def purge(
    *,
    before: Annotated[
        str,
        typer.Option("--before", metavar="WHEN", help="What ended before: 30d for so long ago, or a time."),
    ],
    state: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="delivered (cancelled too), filtered or dead; may be repeated. All but dead unless given.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    journal: JournalOption = None,
) -> None:
    """Remove finished events before `retention` does.

    They stay in the counts of the ledger, but can be neither seen nor replayed any more. The service may run.
    """
    from relay.journal import Early

    at = point_in_time(before, "--before", now_of(journal))
    early = Early(before=at, kinds=frozenset(_kind(one) for one in state or ("delivered", "filtered")))
    with reading(journal) as reader:
        count = reader.count_early(early)
    announce(count, verb="purge", dry_run=dry_run, yes=yes, by_filter=True, what=("event", "events"))
    with writing(journal) as opened:
        purged = asyncio.run(opened.purge_early(early))
    deliveries = counted(purged.deliveries, "delivery", "deliveries")
    typer.echo(f"{counted(purged.events, 'event')} purged, {deliveries} with them")


def _kind(text: str) -> Kind:
    match text:
        case "delivered" | "filtered" | "dead":
            return text
        case "cancelled":
            return "delivered"
        case _:
            raise UsageError(
                f"--state {text!r}: there are delivered, filtered and dead; what is pending stays"
            )


@commands.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The old journal: sqlite:///PATH.")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TO]", help="The new one: postgresql://USER@HOST/DATABASE, or RELAY_JOURNAL."
        ),
    ] = None,
    *,
    undo: Annotated[
        bool, typer.Option("--undo", help="Let the old journal be served again; nothing is copied.")
    ] = False,
) -> None:
    """Move an SQLite journal to PostgreSQL, with all that waits in it.

    Stop the service first; from then on it refuses the old journal. A copy that was interrupted goes on with
    the same command. Exit code 1 if the ledgers of the two differ in the end.
    """
    if undo:
        _take_back(source)
        return
    from relay.journal import copy_journal

    with _telling() as told:
        copied = copy_journal(source, load_settings(journal=target).journal, told)
    if copied is None:
        typer.echo("nothing to do: this journal was copied there before")
        return
    for name, (before, after) in copied.rows.items():
        typer.echo(f"{name}: {after:,} of {before:,}")
    if copied.skipped:
        keys = counted(copied.skipped, "dedup key")
        typer.echo(f"left out: {keys} stored twice, as text and as a hash")
    show_ledger(copied.after)
    if not copied.same:
        render.note("THE BOOKS OF THE TWO JOURNALS DO NOT AGREE: the new one stays closed, nothing is lost")
        raise typer.Exit(1)
    typer.echo("Both journals agree. Serve the new one: set RELAY_JOURNAL to it.")


@commands.command("accept-loss")
def accept_loss(
    loss: Annotated[str, typer.Argument(metavar="ID", help="As `relay doctor` or `serve` names it.")],
    *,
    yes: YesOption = False,
    journal: JournalOption = None,
) -> None:
    """Accept what a journal has lost.

    For a database that was put back: `doctor`, `status`, `ledger` and the alert no longer report the loss.
    For a file that `serve` refuses: `serve` takes it as it is. Nothing comes back.
    """
    from relay.journal import accept_file, doubt_of

    url = load_settings(journal=journal).journal
    doubt = doubt_of(url)
    if doubt is not None:
        render.note(str(doubt))
        if doubt.journal_id != loss:
            render.note(f"this journal is not {loss}")
            raise typer.Exit(1)
        _ask(yes=yes)
        accept_file(url)
        typer.echo("accepted: the file is served as it is")
        return
    with reading(journal) as reader:
        found = next((one for one in reader.losses() if one.id == loss), None)
    if found is None:
        render.note(f"no loss {loss} waits to be accepted")
        raise typer.Exit(1)
    show_losses([found])
    _ask(yes=yes)
    with writing(journal) as opened:
        accepted = asyncio.run(opened.accept_loss(loss))
    if accepted is None:
        render.note("somebody else has accepted it meanwhile")
        raise typer.Exit(1)
    typer.echo(f"accepted: {counted(accepted.events, 'event')} lost")


def _ask(*, yes: bool) -> None:
    """Go on where the operator accepts the loss."""
    if not yes and not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at: nothing was changed. To accept the loss, add --yes")
    if not yes and not typer.confirm("Accept the loss?", err=True):
        raise typer.Exit(1)


def _take_back(source: str) -> None:
    from relay.journal import take_back

    target = take_back(source)
    if target is None:
        render.note("nothing to undo: this journal was not moved")
        raise typer.Exit(1)
    typer.echo(f"this journal may be served again; what was taken at {target} is not in it")
    typer.echo(f"do not serve {target} any more: what waits would be delivered from both")


@contextmanager
def _telling() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each table where somebody watches, else a line now and then; on stderr."""
    if not sys.stderr.isatty():
        yield _Lines().tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars: dict[str, TaskID] = {}

        def tell(table: str, done: int, total: int) -> None:
            if table not in bars:
                bars[table] = progress.add_task(table, total=total)
            progress.update(bars[table], completed=done)

        yield tell


class _Lines:
    """Lines about work under way: how each table begins and ends, and every few seconds between."""

    def __init__(self) -> None:
        self._table = ""
        self._told_at = 0.0

    def tell(self, table: str, done: int, total: int) -> None:
        """Say how far a table is, if it is time to."""
        now = time.monotonic()
        if table == self._table and done < total and now - self._told_at < _EVERY:
            return
        if table == self._table or done < total:
            render.note(f"{table}: {done:,} of {total:,}")
        self._table, self._told_at = table, now
