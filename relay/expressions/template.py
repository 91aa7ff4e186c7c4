"""Text with {{ holes }} of CEL, in any YAML structure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from relay.errors import ExpressionError
from relay.expressions.hidden import NOTHING, Hidden
from relay.expressions.program import Program, compile_program
from relay.expressions.scan import tokens
from relay.expressions.view import View


def to_json(value: object) -> str:
    """Write a value as compact JSON, always the same for the same value."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def to_text(value: object) -> str:
    """Write a value inside text: null is empty, text is itself, all else as JSON has it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else to_json(value)


class _Node(Protocol):
    def render(self, view: View) -> Any: ...


@dataclass(frozen=True, slots=True)
class _Literal:
    value: object

    def render(self, _view: View) -> Any:
        return self.value


@dataclass(frozen=True, slots=True)
class _Hole:
    program: Program

    def render(self, view: View) -> Any:
        return self.program.evaluate(view)


@dataclass(frozen=True, slots=True)
class _Text:
    parts: tuple[_Node, ...]

    def render(self, view: View) -> str:
        return "".join(to_text(part.render(view)) for part in self.parts)


@dataclass(frozen=True, slots=True)
class _List:
    items: tuple[_Node, ...]

    def render(self, view: View) -> list[Any]:
        return [item.render(view) for item in self.items]


@dataclass(frozen=True, slots=True)
class _Map:
    items: tuple[tuple[_Node, _Node], ...]

    def render(self, view: View) -> dict[str, Any]:
        return {to_text(key.render(view)): value.render(view) for key, value in self.items}


@dataclass(frozen=True, slots=True)
class Template:
    """A structure of literal text and holes, compiled."""

    _root: _Node

    def render(self, view: View) -> Any:
        """Fill the holes; a hole that stands alone keeps its type. Raises ExpressionError."""
        return self._root.render(view)

    def text(self, view: View) -> str:
        """Fill the holes and return text. Raises ExpressionError."""
        return to_text(self._root.render(view))

    def parts(self, view: View) -> tuple[tuple[str, bool], ...]:
        """Fill the holes of a text, kept apart: each piece, and whether it came out of a hole."""
        nodes = self._root.parts if isinstance(self._root, _Text) else (self._root,)
        return tuple((to_text(node.render(view)), isinstance(node, _Hole)) for node in nodes)

    @property
    def beginning(self) -> str:
        """The text before the first hole; empty where that comes first."""
        first = self._root.parts[0] if isinstance(self._root, _Text) else self._root
        value = first.value if isinstance(first, _Literal) else None
        return value if isinstance(value, str) else ""

    @property
    def literal(self) -> str | None:
        """The text, where it is one and has no holes."""
        value = self._root.value if isinstance(self._root, _Literal) else None
        return value if isinstance(value, str) else None


def compile_template(
    value: object, *, placeholders: Collection[str] | None = None, hidden: Hidden = NOTHING
) -> Template:
    """Compile any YAML structure. Raises ExpressionError, its offset inside the text that has the mistake."""
    return Template(_compile(value, _Compiler(placeholders, Hidden(hidden.values))))


@dataclass(frozen=True, slots=True)
class _Compiler:
    """Compiles the holes of one structure, as `compile_program` does."""

    placeholders: Collection[str] | None
    hidden: Hidden

    def program(self, text: str) -> Program:
        return compile_program(text, placeholders=self.placeholders, hidden=self.hidden)


def _compile(value: object, compiler: _Compiler) -> _Node:
    match value:
        case str():
            return _compile_text(value, compiler)
        case None | bool() | int() | float():
            _check_number(value)
            return _Literal(value)
        case list() | tuple():
            return _List(tuple(_compile(item, compiler) for item in value))
        case dict():
            return _Map(
                tuple((_compile(key, compiler), _compile(item, compiler)) for key, item in value.items())
            )
        case _:
            raise ExpressionError(f"{type(value).__name__} is nothing that JSON has; put it in quotes")


def _check_number(value: object) -> None:
    """Raise ExpressionError for a number that JSON does not have."""
    try:
        to_json(value)
    except ValueError as error:
        raise ExpressionError(f"{value} is no number that JSON has") from error


def _compile_text(text: str, compiler: _Compiler) -> _Node:
    parts = tuple(_parts(text, compiler))
    if not parts:
        return _Literal("")
    return parts[0] if len(parts) == 1 else _Text(parts)


def _parts(text: str, compiler: _Compiler) -> Iterator[_Node]:
    start = 0
    while (opening := text.find("{{", start)) >= 0:
        if opening > start:
            yield _Literal(text[start:opening])
        closing = _closing(text, opening + 2)
        yield _Hole(_program(text, opening + 2, closing, compiler))
        start = closing + 2
    if start < len(text):
        yield _Literal(text[start:])


def _program(text: str, start: int, end: int, compiler: _Compiler) -> Program:
    source = text[start:end]
    inner = source.strip()
    lead = start + len(source) - len(source.lstrip())
    try:
        return compiler.program(inner)
    except ExpressionError as error:
        raise ExpressionError(str(error), offset=lead + (error.offset or 0)) from error


def _closing(text: str, start: int) -> int:
    """Find the `}}` that ends a hole: not one in a CEL string, nor the braces of a CEL map."""
    depth = 0
    for token in tokens(text, start):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0 and text.startswith("}}", token.offset):
                return token.offset
            depth -= 1
    raise ExpressionError("this hole is not closed: }} is missing", offset=start - 2)
