"""Mistakes in a configuration: where each one is, what was expected, and the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

_LONGEST_REPORT = 200
_LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file; `line` and `column` count from 1, and 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing to mend: its place, the path of its key, what was expected, the nearest valid name."""

    place: Place
    key: str
    message: str
    nearest: str | None = None

    def __str__(self) -> str:
        parts = [str(self.place), self.key, self.message] if self.key else [str(self.place), self.message]
        hint = f'; did you mean "{self.nearest}"?' if self.nearest else ""
        return printable(": ".join(parts) + hint)


@dataclass(slots=True)
class Report:
    """Collects mistakes; a scalar that is already known to be wrong gets no second one.

    `warnings` are of what is valid, and most likely not meant; `unset` names variables without a value.
    """

    mistakes: list[Mistake] = field(default_factory=list)
    warnings: list[Mistake] = field(default_factory=list)
    unset: list[str] = field(default_factory=list)
    spoiled: set[Place] = field(default_factory=set)
    told: set[tuple[Place, str, str]] = field(default_factory=set)

    def add(
        self,
        place: Place,
        message: str,
        *,
        key: str = "",
        nearest: str | None = None,
        spoil: bool = False,
    ) -> None:
        """Note a mistake; with `spoil`, whatever else is found at this place follows from it."""
        if place in self.spoiled:
            return
        if spoil:
            self.spoiled.add(place)
        if self._is_new(place, message, key):
            self.mistakes.append(Mistake(place, key, message, nearest))

    def warn(self, place: Place, message: str, *, key: str) -> None:
        """Note what is worth a look."""
        if self._is_new(place, message, key):
            self.warnings.append(Mistake(place, key, message))

    def _is_new(self, place: Place, message: str, key: str) -> bool:
        """Whether this was not told: one wrong default shows in every entry it is merged under."""
        one = (place, message, key.rpartition(".")[2])
        is_new = one not in self.told
        self.told.add(one)
        return is_new


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """The valid name that looks most like this one, if any does."""
    by_lower = {candidate.lower(): candidate for candidate in valid}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None


def describe(mistakes: Iterable[Mistake]) -> str:
    """The report for people: one mistake a line, in the order of the files."""
    return "\n".join(lines(mistakes))


def lines(mistakes: Iterable[Mistake]) -> tuple[str, ...]:
    """Each mistake as a line, in the order of the files, up to as many as anybody reads."""
    found = [str(mistake) for mistake in sorted(set(mistakes), key=_order)]
    if len(found) > _LONGEST_REPORT:
        found[_LONGEST_REPORT:] = [f"… and {len(found) - _LONGEST_REPORT} more"]
    return tuple(found)


def _order(mistake: Mistake) -> tuple[Place, str, str]:
    return mistake.place, mistake.key, mistake.message


def quoted(text: str) -> str:
    """A name or a literal value as a report shows it: short, on one line."""
    cut = text if len(text) <= _LONGEST_QUOTE else text[: _LONGEST_QUOTE - 1] + "…"
    return f'"{printable(cut)}"'


def printable(text: str) -> str:
    """The text with what could start a line or colour a terminal written as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
