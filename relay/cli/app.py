"""The `relay` program: its commands, and one way for all of them to fail."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from relay import __version__
from relay.cli import (
    doctor,
    explain,
    hold,
    inspect,
    journal,
    reload,
    repair,
    resend,
    send,
    serve,
    setup,
    standing,
)
from relay.cli.text import clean
from relay.errors import RelayError

_WRONG = 2
"""Exit code for wrong usage or configuration."""


class _Commands(TyperGroup):
    """A group that turns Relay's own errors into one message and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RelayError as error:
            for line in str(error).splitlines():
                typer.echo(clean(line), err=True)
            raise typer.Exit(_WRONG) from None


app = typer.Typer(
    name="relay",
    cls=_Commands,
    help="A durable webhook relay: a webhook in, a journal on disk, a webhook out.",
    epilog="Exit codes: 0 done, 1 the answer is no, 2 wrong usage or configuration.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if asked:
        typer.echo(f"relay {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Only what all commands share; `--version` has ended the program before this runs."""


for _command in (
    serve.demo,
    setup.init,
    serve.serve,
    reload.reload,
    setup.check,
    setup.schema,
    send.send,
    standing.status,
    inspect.show,
    explain.explain,
    inspect.events,
    inspect.deliveries,
    repair.retry,
    resend.replay,
    repair.cancel,
    hold.pause,
    hold.resume,
    standing.ledger,
    doctor.doctor,
):
    app.command()(_command)
app.command(hidden=True)(serve.worker)
app.add_typer(journal.commands, name="journal")


def main() -> None:
    """Run the command line; what the terminal's encoding lacks is written out, never an error."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    app()
