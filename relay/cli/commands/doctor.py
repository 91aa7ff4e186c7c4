"""`relay doctor`: whether journal, machine, file and destinations are well, and what to do where not."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from relay.cli.open import load_settings, todays_file
from relay.cli.options import ConfigOption, JournalOption, JsonOption
from relay.cli.output import render
from relay.cli.output.formats import clean, counted, iso, moment, relative, size
from relay.cli.output.render import Column
from relay.errors import ConfigError, JournalError

if TYPE_CHECKING:
    from relay.config import Configuration, Settings
    from relay.journal import Finding
    from relay.problems import Problem

_AT_ONCE = 20
"""Destinations that are dialled at the same time."""


def doctor(
    *, journal: JournalOption = None, config_path: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Look for what is wrong, and say what to do.

    It looks at the journal, its room and its clock, at who serves it, at the file, and whether each
    destination can be reached. It lists what waits for you: dead deliveries, lanes that these hold, open
    breakers, pauses, sources that are silent or refuse all. It sends and changes nothing. Exit code 1 if
    something is wrong.
    """
    from relay.journal import examine

    settings = load_settings(journal=journal, config=config_path)
    looked_at = _Looked.at(settings, config_path)
    found, now = looked_at.problems()
    findings = [*examine(settings.journal), *looked_at.disk(), *looked_at.file()]
    well = not found and all(one.ok for one in findings)
    if as_json:
        told = [{**asdict(one), "subject": "", "since": None, "count": None} for one in findings]
        render.document({"ok": well, "findings": told + [_problem_json(one) for one in found]})
    else:
        _show(findings, found, now)
    if not well:
        raise typer.Exit(1)


def _problem_json(one: Problem) -> dict[str, object]:
    return {
        "about": one.kind,
        "ok": False,
        "says": one.text,
        "do": one.advice,
        "subject": one.about,
        "since": iso(one.since),
        "count": one.count,
    }


def _show(findings: Sequence[Finding], found: Sequence[Problem], now: float) -> None:
    rows = [("yes" if one.ok else "no", one.about, one.says) for one in findings]
    rows += [("no", one.kind, _sentence(one, now)) for one in found]
    render.table((Column("WELL", styled=True), Column("ABOUT"), Column("FOUND", wraps=True)), rows)
    wrong = [(one.about, one.do) for one in findings if not one.ok]
    wrong += [(f"{one.kind} {one.about}".rstrip(), one.advice) for one in found]
    typer.echo()
    for what, advice in wrong:
        if advice:
            typer.echo(clean(f"{what}: {advice}"))
    typer.echo("All is well." if not wrong else f"Wrong: {len(wrong)} of {len(rows)}.")


def _sentence(one: Problem, now: float) -> str:
    """What is wrong, with whom and since when."""
    name = f"{one.about}: " if one.about else ""
    since = "" if one.since is None else f", since {moment(one.since)} ({relative(one.since, now)})"
    return f"{name}{one.text}{since}"


@dataclass(frozen=True, slots=True)
class _Looked:
    """What the doctor looks at beside the journal's own tables.

    `configuration` is today's file, None where there is none that can be used; `mistakes` says why not.
    """

    settings: Settings
    asked_for: Path | None
    configuration: Configuration | None
    mistakes: str | None

    @classmethod
    def at(cls, settings: Settings, asked_for: Path | None) -> _Looked:
        """By these settings; `asked_for` is the file that was named on the command line."""
        if asked_for is None and not settings.config.exists():
            return cls(settings, asked_for, None, None)
        try:
            return cls(settings, asked_for, todays_file(asked_for), None)
        except ConfigError as error:
            return cls(settings, asked_for, None, str(error))

    def problems(self) -> tuple[list[Problem], float]:
        """What is wrong with destinations, sources and the taking of events, and the journal's time.

        None where it cannot be read.
        """
        from relay.journal import Reader
        from relay.problems import Seen, problems

        try:
            with Reader.open(self.settings.journal) as reader:
                now = reader.now()
                seen = Seen(
                    status=reader.status(),
                    configuration=self.configuration,
                    refusal=reader.refusal(),
                    public_url=self.settings.public_url,
                )
        except JournalError:  # told by the findings about the journal
            return [], time.time()
        return problems(seen, now=now), now

    def disk(self) -> Iterator[Finding]:
        """How much room there is for the journal."""
        from relay.journal import Finding, folder_of
        from relay.problems import is_low

        folder = folder_of(self.settings.journal)
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

    def file(self) -> Iterator[Finding]:
        """The configuration, and the destinations in it; without any, neither is looked at."""
        from relay.journal import Finding

        path, configuration = self.settings.config, self.configuration
        if self.mistakes is not None:
            first, *others = self.mistakes.splitlines()
            more = f" (and {counted(len(others), 'line')} more)" if others else ""
            do = "`relay check` lists all its mistakes"
            yield Finding(about="file", ok=False, says=f"{first}{more}", do=do)
        elif configuration is None:
            yield Finding(about="file", ok=True, says=f"none at {path}: no destination was looked at")
        else:
            sources = counted(len(configuration.sources), "source")
            destinations = counted(len(configuration.destinations), "destination")
            yield Finding(about="file", ok=True, says=f"{path}: {sources}, {destinations}")
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
