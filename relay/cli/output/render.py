"""What commands print: tables on a terminal, plain columns in a pipe, one JSON document on demand."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import typer

from relay.cli.output.formats import clean

if TYPE_CHECKING:
    from rich.console import Console

_T = TypeVar("_T")

_PROSE = 30
"""Characters that a column of prose has left at the least."""

_ENDLESS = 100_000
"""Columns of a terminal on which every table fits."""

_BETWEEN = 3
"""Columns of a terminal that a table's column takes beside its cells."""

_LONG = 1000
"""Items from which on work is worth a progress bar."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    `styled` colours known words of our own, never what came from outside. `wraps` is for prose: on a
    narrow terminal it is broken to what the others leave, or stands below the table where they leave too
    little; all else stays whole, to be copied.
    """

    title: str
    right: bool = False
    styled: bool = False
    wraps: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a timeline: how deep it stands, what it says and in which colour."""

    text: str
    depth: int = 0
    style: str = ""


def _style(word: str) -> str:
    """The colour of a state; other words have none."""
    match word.partition(" ")[0]:
        case "delivered" | "yes":
            return "green"
        case "dead" | "no":
            return "bold red"
        case "pending":
            return "yellow"
        case "filtered" | "cancelled":
            return "dim"
        case _:
            return ""


def is_terminal() -> bool:
    """Whether somebody watches what is printed."""
    return sys.stdout.isatty()


def _console() -> Console:
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def document(value: object) -> None:
    """Print one JSON document, in ASCII: C1 controls and directional marks are inert in it too."""
    typer.echo(json.dumps(value, indent=2))


def note(text: str) -> None:
    """Say something beside the result, on stderr."""
    typer.echo(clean(text), err=True)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """Print rows under their columns' titles; every cell is made inert first."""
    cells = [[clean(cell) for cell in row] for row in rows]
    if is_terminal():
        _rich_table(columns, cells, title)
    else:
        _plain_table(columns, cells, title)


def _rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> None:
    from rich import box
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    console = _console()
    if _narrowest(columns, rows) > console.width and not all(column.wraps for column in columns):
        columns, rows, below = _without_prose(columns, rows)
    else:
        below = []
    shown = Table(box=box.SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left")
    for index, column in enumerate(columns):
        longest = max(map(cell_len, [column.title, *(row[index] for row in rows)]))
        shown.add_column(
            Text(column.title),
            justify="right" if column.right else "left",
            overflow="fold",
            min_width=min(_PROSE, longest) if column.wraps else longest,
        )
    for row in rows:
        shown.add_row(
            *(
                Text(cell, style=_style(cell) if column.styled else "")
                for column, cell in zip(columns, row, strict=True)
            )
        )
    # Where even that is too wide, the terminal breaks the lines: a table would break the ids.
    unbounded = console.options.update(max_width=_ENDLESS)
    terminal = console.width
    console.width = max(terminal, Measurement.get(console, unbounded, shown).minimum)
    console.print(shown)
    console.width = terminal
    for line in below:
        console.print(Text(line, overflow="fold"))


def _narrowest(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """How wide a table is at the least, with what stands between its columns."""
    widths = [
        max(map(len, [column.title, *(row[index] for row in rows)])) for index, column in enumerate(columns)
    ]
    least = (
        min(_PROSE, width) if column.wraps else width for column, width in zip(columns, widths, strict=True)
    )
    return sum(least) + _BETWEEN * len(columns)


def _without_prose(
    columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> tuple[list[Column], list[list[str]], list[str]]:
    """The table without its columns of prose, and these as a line by its name for each row that has any."""
    kept = [index for index, column in enumerate(columns) if not column.wraps]
    prose = [index for index, column in enumerate(columns) if column.wraps]
    name = next((index for index in kept if not (columns[index].styled or columns[index].right)), kept[0])
    below = [
        f"  {row[name]}: {'; '.join(row[index] for index in prose if row[index])}"
        for row in rows
        if any(row[index] for index in prose)
    ]
    return [columns[index] for index in kept], [[row[index] for index in kept] for row in rows], below


def _plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], title: str) -> None:
    if title:
        typer.echo(title)
    lines = [[column.title for column in columns], *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
    for line in lines:
        cells = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def timeline(lines: Sequence[Line]) -> None:
    """Print lines one under another; their text is already inert."""
    if not is_terminal():
        for line in lines:
            typer.echo("  " * line.depth + line.text)
        return
    from rich.padding import Padding
    from rich.text import Text

    console = _console()
    for line in lines:
        console.print(Padding(Text(line.text, style=line.style, overflow="fold"), (0, 0, 0, 2 * line.depth)))


def progress(items: Iterable[_T], *, total: int, what: str) -> Iterable[_T]:
    """The items, with a bar on stderr while they are worked through, if somebody watches and it is long."""
    if total < _LONG or not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=what, total=total, console=Console(stderr=True))
