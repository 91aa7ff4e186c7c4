"""`relay reload`: asks every process of the service to take the file anew."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from relay.cli.open import load_settings, reading, writing
from relay.cli.options import ConfigOption, JournalOption
from relay.cli.output.formats import clean

if TYPE_CHECKING:
    from relay.journal import NodeStatus, Reader

_WITHIN = 10.0
"""Seconds in which every process answers: each looks once a second, and the file loads in less."""

_LOOK = 0.1


def reload(
    *,
    config_path: ConfigOption = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="SECONDS", min=0, help="How long to wait for the answers.")
    ] = _WITHIN,
    journal: JournalOption = None,
) -> None:
    """Make the service load its file again.

    A file with mistakes is refused here, and by each process: the old one stays in force. Variables are
    those of the service, as they were when it started; what this shell has does not count. For what
    changes while it runs, write ${file:...} in the file.
    """
    from relay import config  # noqa: PLC0415 - a command imports what it needs when it runs

    config.load(load_settings(config=config_path).config, None, allow_unset=True)
    with writing(journal) as opened:
        number = asyncio.run(opened.request_reload())
    with reading(journal) as reader:
        nodes = _answers(reader, number, wait)
        changes = reader.order_changes()
    if not nodes:
        typer.echo("nobody serves: the next start takes the file")
        return
    for one in nodes:
        typer.echo(f"{clean(one.host)}, process {one.pid}: {_answer(one, number)}")
    for name in sorted(changes):
        typer.echo(f"{clean(name)}: `order` has changed: new deliveries wait until those before have ended")
    if any(_answered(one, number) is not True for one in nodes):
        raise typer.Exit(1)


def _answers(reader: Reader, number: int, wait: float) -> list[NodeStatus]:
    """Every process that lives, once all have answered or the time is over."""
    deadline = time.monotonic() + wait
    while True:
        nodes = [one for one in reader.nodes() if one.alive]
        waiting = [one for one in nodes if _answered(one, number) is None]
        if not waiting or time.monotonic() >= deadline:
            return nodes
        time.sleep(_LOOK)


def _answered(one: NodeStatus, number: int) -> bool | None:
    """Whether a process took the file; None while it has not answered."""
    if (one.reload or 0) < number:
        return None
    return one.config_error is None


def _answer(one: NodeStatus, number: int) -> str:
    match _answered(one, number):
        case None:
            return "has not answered yet; `relay status` shows when it does"
        case True:
            return f"took the file, configuration {one.config}"
        case _:
            report = "\n".join(f"  {clean(line)}" for line in (one.config_error or "").splitlines())
            return f"refused the file, and goes on with configuration {one.config}:\n{report}"
