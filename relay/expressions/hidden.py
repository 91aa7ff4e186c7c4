"""What a variable of the file brought into an expression, so that no message and no command shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_SHORTEST = 4
"""Characters of a value that is looked for: a shorter one stands in any text by chance."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Values that were filled in, each with the reference that the file has in its place.

    written  the whole text as the file has it, where there is one
    """

    values: tuple[tuple[str, str], ...] = ()
    written: str | None = None

    def mask(self, value: Any) -> Any:
        """Put the references in place of the values, in a text or wherever one is inside a structure."""
        match value:
            case str():
                return self.text(value)
            case list():
                return [self.mask(one) for one in value]
            case dict():
                return {self.mask(key): self.mask(one) for key, one in value.items()}
            case _:
                return value

    def text(self, text: str) -> str:
        """Put the references in place of the values, the longest of them first."""
        for value, reference in sorted(self.values, key=lambda pair: -len(pair[0])):
            if len(value) >= _SHORTEST:
                text = text.replace(value, reference)
        return text


def together(parts: Iterable[Hidden]) -> Hidden:
    """What was filled in anywhere in a structure."""
    return Hidden(tuple(dict.fromkeys(pair for part in parts for pair in part.values)))


NOTHING = Hidden()
"""No variable is in the text."""
