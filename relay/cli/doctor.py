"""`relay doctor`: whether journal, machine, file and destinations are well, and what to do where not."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from relay.cli import render
from relay.cli.access import load_settings, todays_file
from relay.cli.options import ConfigOption, JournalOption, JsonOption
from relay.cli.render import Column
from relay.cli.text import clean, counted, size
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.config import Configuration
    from relay.journal import Finding

_AT_ONCE = 20
"""Destinations that are dialled at the same time."""


def doctor(
    *, journal: JournalOption = None, config_path: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Look for what is wrong, and say what to do.

    The journal, its room and its clock, who serves it, the file, and whether each destination can be
    reached; nothing is sent, made or changed. Exit code 1 where something is wrong.
    """
    from relay.journal import examine

    settings = load_settings(journal=journal, config=config_path)
    findings = [*examine(settings.journal), *_disk(settings.journal), *_file(settings.config, config_path)]
    well = all(one.ok for one in findings)
    if as_json:
        render.document({"ok": well, "findings": [asdict(one) for one in findings]})
    else:
        _show(findings)
    if not well:
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    render.table(
        (Column("WELL", styled=True), Column("ABOUT"), Column("FOUND", wraps=True)),
        [("yes" if one.ok else "no", one.about, one.says) for one in findings],
    )
    wrong = [one for one in findings if not one.ok]
    typer.echo()
    for one in wrong:
        if one.do:
            typer.echo(clean(f"{one.about}: {one.do}"))
    typer.echo("All is well." if not wrong else f"Wrong: {len(wrong)} of {len(findings)}.")


def _disk(url: str) -> Iterator[Finding]:
    from relay.alerts import is_low
    from relay.journal import Finding, folder_of

    folder = folder_of(url)
    if folder is None or not folder.is_dir():
        return
    usage = shutil.disk_usage(folder)
    low = is_low(usage)
    yield Finding(
        about="disk",
        ok=not low,
        says=f"{size(usage.free)} of {size(usage.total)} are free in {folder}",
        do="make room, or keep less (`retention`); with 32 MiB left no event is taken" if low else "",
    )


def _file(path: Path, asked_for: Path | None) -> Iterator[Finding]:
    """The configuration, and the destinations in it; without any, neither is looked at."""
    from relay.journal import Finding

    if asked_for is None and not path.exists():
        yield Finding(about="file", ok=True, says=f"none at {path}: no destination was looked at")
        return
    try:
        configuration = todays_file(asked_for)
    except ConfigError as error:
        first, *others = str(error).splitlines()
        more = f" (and {len(others)} lines more)" if others else ""
        yield Finding(
            about="file", ok=False, says=f"{first}{more}", do="`relay check` tells all its mistakes"
        )
        return
    yield Finding(
        about="file",
        ok=True,
        says=f"{path}: {counted(len(configuration.sources), 'source')},"
        f" {counted(len(configuration.destinations), 'destination')}",
    )
    yield from asyncio.run(_reached(configuration))


async def _reached(configuration: Configuration) -> list[Finding]:
    from relay.egress import Reached, reach
    from relay.journal import Finding

    turn = asyncio.Semaphore(_AT_ONCE)

    async def one(name: str) -> tuple[str, Reached]:
        async with turn:
            return name, await reach(configuration.destinations[name], configuration.egress)

    found = await asyncio.gather(*(one(name) for name in configuration.destinations))
    return [
        Finding(
            about="destination",
            ok=reached.error is None,
            says=f"{name}: {_words(reached.where, reached.error)}",
            do=""
            if reached.error is None
            else f"see that {name} is up and its address right; until then its events wait (`relay status`)",
        )
        for name, reached in found
    ]


def _words(where: str | None, error: str | None) -> str:
    if where is None:
        return "where it is, is known only for each event"
    return f"{where} answers" if error is None else f"{where}: {error}"
