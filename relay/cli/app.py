"""The `relay` program: its commands, and one way for all of them to fail."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from relay import __version__
from relay.cli.output.formats import clean
from relay.errors import RelayError

_WRONG = 2
"""Exit code for wrong usage or configuration."""


_COMMANDS = {
    "demo": "serve.demo",
    "init": "init_check.init",
    "serve": "serve.serve",
    "reload": "reload.reload",
    "check": "init_check.check",
    "schema": "init_check.schema",
    "send": "send.send",
    "status": "status_ledger.status",
    "show": "show_list.show",
    "explain": "explain.explain",
    "events": "show_list.events",
    "deliveries": "show_list.deliveries",
    "retry": "retry_cancel.retry",
    "replay": "replay.replay",
    "cancel": "retry_cancel.cancel",
    "pause": "pause_resume.pause",
    "resume": "pause_resume.resume",
    "ledger": "status_ledger.ledger",
    "doctor": "doctor.doctor",
    "worker": "serve.worker",
    "journal": "journal.commands",
}
"""Where each command is, in the order of the help: to import and build all takes longer than most of them."""

_HIDDEN = "worker"


class _Commands(TyperGroup):
    """A group that builds only the command that is asked for, and turns Relay's errors into exit code 2."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in _COMMANDS and cmd_name not in self.commands:
            self.commands[cmd_name] = _build(cmd_name)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in _COMMANDS:
            for name in _COMMANDS:  # one of them is meant, and typer looks for it among those that are built
                self.get_command(ctx, name)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except RelayError as error:
            for line in str(error).splitlines():
                typer.echo(clean(line), err=True)
            raise typer.Exit(_WRONG) from None


def _build(name: str) -> Any:
    module, member = _COMMANDS[name].split(".")
    command = getattr(importlib.import_module(f"relay.cli.commands.{module}"), member)
    if not isinstance(command, typer.Typer):
        alone = typer.Typer(add_completion=False, rich_markup_mode=None)
        alone.command(name, hidden=name == _HIDDEN)(command)
        command = alone
    built = typer.main.get_command(command)
    built.name = name
    return built


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


def main() -> None:
    """Run the command line; what the terminal's encoding lacks is written out, never an error."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    app()
