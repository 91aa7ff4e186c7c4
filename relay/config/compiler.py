"""Compiles the expressions of a file so that none of them shows what a variable brought into it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from relay.config.model import UNKNOWN_SHOWN
from relay.config.shape.base import UNKNOWN
from relay.config.yaml.nodes import Interpolated
from relay.expressions import Hidden, Program, Template, compile_program, compile_template, together


@dataclass(frozen=True, slots=True)
class Compiler:
    """Compiles what was checked; `hidden` is what was filled in, by the whole text that it made.

    `placeholders` are the names that `path` has, None where several sources may lead there.
    """

    hidden: Mapping[str, Hidden]

    def program(self, text: str, placeholders: Collection[str] | None) -> Program:
        """Compile an expression; one that is not known shows as a reference."""
        hidden = Hidden(written=UNKNOWN_SHOWN) if text == UNKNOWN else self.hidden.get(text, Hidden())
        return compile_program(str(text), placeholders=placeholders, hidden=hidden)

    def template(self, value: object, placeholders: Collection[str] | None) -> Template:
        """Compile any structure of texts with holes."""
        hidden = together(self.hidden[text] for text in _texts(value) if text in self.hidden)
        return compile_template(_settled(value), placeholders=placeholders, hidden=hidden)


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in value.values():
                yield from _texts(item)


def _settled(value: Any) -> Any:
    """The structure with plain text, where text with an unset variable might not even compile."""
    match value:
        case Interpolated():
            return "unset" if value.unset else str(value)
        case list():
            return [_settled(item) for item in value]
        case dict():
            return {key: _settled(item) for key, item in value.items()}
        case _:
            return value
