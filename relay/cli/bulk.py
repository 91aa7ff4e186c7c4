"""How commands change many deliveries: said before it is done, in small transactions, at a rate if asked."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

import typer

from relay.cli import selection
from relay.cli.output import render
from relay.cli.output.formats import counted
from relay.errors import UsageError

_T = TypeVar("_T")

_BEATS = 5
"""Batches a second at a rate: often enough to be even, seldom enough to leave the journal alone."""


def per_second(text: str | None) -> float | None:
    """A rate as people write it, `50/s` or `600/m`, in deliveries a second; None where none was given."""
    from relay.config.shape.scalars import rate

    if text is None:
        return None
    try:
        return rate(text.strip())
    except ValueError as error:
        raise UsageError(f"--rate {text!r}: {error}") from None


def announce(
    count: int,
    *,
    verb: str,
    dry_run: bool,
    yes: bool,
    by_filter: bool,
    what: tuple[str, str] = ("delivery", "deliveries"),
) -> None:
    """Say how many before anything changes; ask where somebody can answer and more than one is meant.

    Where nobody can, more than one that a filter found (`by_filter`) are refused without `yes`: how many
    those are, whoever wrote the filter did not see.
    """
    if not count:
        render.note(f"nothing to {verb}")
        raise typer.Exit(1)
    meant = counted(count, *what)
    if dry_run:
        typer.echo(f"would {verb} {meant}; nothing was changed")
        raise typer.Exit
    if count == 1:
        return
    if yes:
        render.note(f"{verb}: {meant}")
    elif sys.stdin.isatty():
        render.note(f"{verb}: {meant}")
        if not typer.confirm("Go on?", err=True):
            raise typer.Exit(1)
    elif by_filter:
        raise UsageError(
            f"the filter finds {meant}, and there is no terminal to ask at: nothing was changed."
            f" To {verb} them all, add --yes; --dry-run only counts"
        )
    else:
        render.note(f"{verb}: {meant}")


def change(
    items: Iterable[_T],
    how: Callable[[Sequence[_T]], Awaitable[int]],
    *,
    total: int,
    verb: str,
    rate: float | None = None,
) -> int:
    """Change all in small transactions, `rate` a second at most; how many it was in the end."""

    async def in_batches() -> int:
        done = seen = 0
        began = time.monotonic()
        size = selection.BATCH if rate is None else max(1, min(selection.BATCH, int(rate / _BEATS)))
        for batch in selection.batches(render.progress(items, total=total, what=verb), size):
            if rate is not None:
                await asyncio.sleep(began + seen / rate - time.monotonic())
            done += await how(batch)
            seen += len(batch)
        return done

    return asyncio.run(in_batches())


def report(
    done: int,
    meant: int,
    what: str,
    *,
    left: str = "in flight, or changed meanwhile",
    waits: Sequence[str] = (),
) -> None:
    """Say how many were changed, what they wait for, why others were not; exit code 1 where it was none."""
    typer.echo(f"{counted(done, 'delivery', 'deliveries')} {what}")
    for line in waits:
        typer.echo(line)
    if done < meant:
        render.note(f"not changed ({left}): {counted(meant - done, 'delivery', 'deliveries')}")
    if not done:
        raise typer.Exit(1)
