"""The table of experiments that `make faults` prints: what was done, and what became of each event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

PROPERTY = "experiment"
"""Under this name a row travels from the process that runs a test to the one that prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One experiment, or its control, in which nothing is done."""

    experiment: str
    done: str
    acknowledged: int
    delivered: int
    pending: int
    dead: int
    duplicates: int
    lost: int
    verdict: str = ""


class Recorder:
    """Takes the rows of one test."""

    def __init__(self, properties: list[tuple[str, object]], name: str) -> None:
        self._properties = properties
        self._name = name

    def note(
        self, done: str, ledger: Mapping[str, Any], *, acknowledged: int, lost: int, duplicates: int
    ) -> None:
        """One row: `ledger` is what `relay ledger --json` says at the end."""
        lines = ledger["deliveries"]
        row = Row(
            experiment=self._name,
            done=done,
            acknowledged=acknowledged,
            delivered=sum(line["delivered"] for line in lines),
            pending=sum(line["pending"] for line in lines),
            dead=sum(line["dead"] for line in lines),
            duplicates=duplicates,
            lost=lost,
        )
        self._properties.append((PROPERTY, asdict(row)))


def table(rows: Iterable[tuple[Mapping[str, Any], str]]) -> list[str]:
    """The lines of the table; each row with the outcome of its test."""
    names = [one.name for one in fields(Row)]
    cells: list[Sequence[str]] = [names]
    for row, outcome in rows:
        values = {**row, "verdict": "held" if outcome == "passed" and not row["lost"] else "BROKEN"}
        cells.append([str(values[name]) for name in names])
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
