"""Commands about the configuration itself: `init`, `check` and `schema`."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.commands import explain
from relay.cli.open import load_settings
from relay.cli.options import ConfigOption, JournalOption
from relay.cli.output import render
from relay.cli.output.formats import clean, counted
from relay.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from relay.config import Configuration

_LAST = 1000
"""Events of the journal that `check --against-journal` looks at."""


def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")] = Path(),
) -> None:
    """Write a commented config/relay.yaml to start from.

    Its JSON Schema is written beside it, for editors.
    """
    from relay import config

    target = written = directory / "config" / "relay.yaml"
    there = "" if load_settings().config == target else f" --config {shlex.quote(str(target))}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as file:
            file.write(config.starter())
        # The file's first line names it, for editors.
        written = target.with_name("relay.schema.json")
        written.write_text(config.schema_text(), encoding="utf-8")
    except FileExistsError:
        raise UsageError(f"{target} is there already: nothing was written") from None
    except OSError as error:
        raise UsageError(f"cannot write {written}: {error.strerror or error}") from error
    typer.echo(
        f"Wrote {clean(str(target))} and its schema. Next: edit it, then `relay check{clean(there)}`"
        f" and `relay serve{clean(there)}`."
    )


def check(
    path: Annotated[str | None, typer.Argument(hidden=True)] = None,
    *,
    config_path: ConfigOption = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="Show the merged file, secrets masked.")
    ] = False,
    allow_unset: Annotated[
        bool, typer.Option("--allow-unset", help="Accept unset ${VARIABLES}, as in CI.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what is only warned of, too, as in CI.")
    ] = False,
    against_journal: Annotated[
        bool,
        typer.Option("--against-journal", help="Show what stored events would do otherwise by this file."),
    ] = False,
    last: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How many of the latest events: 1000.")
    ] = None,
    journal: JournalOption = None,
) -> None:
    """Validate the configuration.

    A warning names something valid that is probably a mistake: a source without a route, a destination
    that no route names. Warnings do not change the exit code, except with --strict.

    With --against-journal it also runs the last stored events through the file, and prints what would go
    elsewhere than before. Whatever it finds there, the exit code is 0.
    """
    from relay import config

    if path is not None:
        raise UsageError(f"the file is given by an option: relay check --config {shlex.quote(path)}")
    if last is not None and not against_journal:
        raise UsageError("--last goes with --against-journal")
    if resolved and against_journal:
        raise UsageError("--resolved and --against-journal exclude each other")

    file = load_settings(config=config_path).config
    configuration = config.load(file, os.environ, allow_unset=allow_unset)
    if strict and configuration.warnings:
        raise ConfigError("\n".join(configuration.warnings))
    for warning in configuration.warnings:
        render.note(f"warning: {warning}")
    if resolved:
        typer.echo(config.resolved(file, os.environ, allow_unset=allow_unset).rstrip("\n"))
        return
    if against_journal:
        explain.against_journal(configuration, journal=journal, last=last or _LAST)
        return
    _tell(file, configuration)


def _tell(file: Path, configuration: Configuration) -> None:
    """What a valid file holds."""
    routes = sum(len(some) for some in configuration.routes.values())
    parts = (
        counted(len(configuration.sources), "source"),
        counted(len(configuration.destinations), "destination"),
        counted(routes, "route"),
    )
    warned = f", {counted(len(configuration.warnings), 'warning')}" if configuration.warnings else ""
    typer.echo(f"{clean(str(file))}: {', '.join(parts)}, no mistakes{warned}")
    for name in configuration.experimental:
        scheme = configuration.sources[name].scheme.name
        typer.echo(f"source {clean(name)}: {scheme} is experimental, made from its documentation alone")


def schema() -> None:
    """Print the JSON Schema of the file."""
    from relay import config

    render.document(config.json_schema())
