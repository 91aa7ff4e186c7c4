"""Compiles CEL and runs it on an event: only what a program names is handed to it, within bounds."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from math import isfinite
from typing import Any

from relay.errors import ExpressionError
from relay.expressions.advice import advice
from relay.expressions.functions import MAX_PARTS, ROOM, ROOM_IN_MACRO, Functions, kind
from relay.expressions.hidden import NOTHING, Hidden
from relay.expressions.library import cel
from relay.expressions.parse import integer
from relay.expressions.scan import Key, Shape, Usage, scan, tokens
from relay.expressions.view import View

MAX_LENGTH = 8_192
# CEL has no budget and holds every thread, so what it is given is bounded: converting takes about
# 2 µs a value; `map` and `filter` copy what they have gathered at every step, 0.1 µs a value.
MAX_VALUES = 40_000
MAX_WORK = (1_500_000, 5_000_000)
_CHARS_PER_VALUE = 256
_SHOWN = 200

_SYNTAX = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")
_GENERIC = ("No such overload", "Undefined variable or function")


class Program:
    """One CEL expression, compiled; `source` is its text as the file has it."""

    __slots__ = ("_compiled", "_growth", "_names", "_usage", "hidden", "source")

    def __init__(self, source: str, compiled: cel.Program, usage: Usage, hidden: Hidden) -> None:
        self.source = hidden.text(source) if hidden.written is None else hidden.written
        self.hidden = hidden
        self._compiled = compiled
        self._usage = usage
        self._growth = usage.growth
        self._names = tuple((name, _attribute(name, shape), shape) for name, shape in usage.shapes)

    def __repr__(self) -> str:
        return f"Program({self.source!r})"

    def evaluate(self, view: View) -> Any:
        """Return the value as JSON has it, maps in the order of their keys.

        Raises ExpressionError, which says what is missing, of the wrong type or too large, and shows
        nothing that a variable brought.
        """
        meter = _Meter()
        variables = {
            name: _cut(getattr(view, attribute), shape, meter) for name, attribute, shape in self._names
        }
        if self._growth:
            meter.check(self._growth, parts=MAX_PARTS if "split" in self._usage.functions else 0)
        functions = None
        context: Any = variables
        if self._usage.functions:
            functions = Functions(ROOM_IN_MACRO if self._growth else ROOM)
            context = cel.Context(variables, functions.table(self._usage.functions))
        try:
            result = self._compiled.execute(context)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic in Rust derives from BaseException alone
            failure = functions.failure if functions is not None else None
            raise ExpressionError(self.hidden.text(failure or self._explain(error, variables))) from error
        if functions is not None and functions.failure is not None:
            raise ExpressionError(functions.failure)
        return result if result is True or result is False else _plain(result)

    def inputs(self, view: View) -> tuple[tuple[str, object], ...]:
        """What the program sees of this event: each part that it names, None too where it is missing."""
        variables = {
            name: _cut(getattr(view, attribute), shape, _Meter()) for name, attribute, shape in self._names
        }
        return tuple(
            (self.hidden.text(path), None if value is _MISSING else _shown(value))
            for path, value in self._named(variables)
        )

    def _explain(self, error: BaseException, variables: dict[str, Any]) -> str:
        """Say what was missing or of which type, in terms of the names that the program has."""
        if isinstance(error, KeyError):
            key = str(error.args[0]).strip("'")
            missing = [path for path, value in self._named(variables) if value is _MISSING]
            ends = (f".{key}", f'["{key}"]')
            # Masked before it is cut: a part of a value is found no more.
            shown = repr(self.hidden.text(key)[:_SHOWN])
            return f"missing: {next((path for path in missing if path.endswith(ends)), shown)}"
        # Only the first line, and none of what a sender may have put in it to colour a terminal.
        text = str(error).split(". CEL does not", 1)[0].split(". Check", 1)[0].split("\n", 1)[0]
        text = self.hidden.text(text)[:_SHOWN]
        text = "".join(one if one.isprintable() else "?" for one in text)
        if not text.startswith(_GENERIC) and not isinstance(error, TypeError):
            return text
        found = [
            f"{path} is {kind(value)}" for path, value in self._named(variables) if value is not _MISSING
        ]
        problem = "wrong type" if text.startswith(_GENERIC) else f"wrong type: {text}"
        return f"{problem} ({', '.join(found[:4])})" if found else problem

    def _named(self, variables: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, shape in self._usage.shapes:
            yield from _leaves(name, variables[name], shape)


def compile_program(
    text: str, *, placeholders: Collection[str] | None = None, hidden: Hidden = NOTHING
) -> Program:
    """Compile CEL, and refuse what could not work on any event or could hold every thread.

    `placeholders` are the names that `path` has; None leaves them unchecked. `hidden` is what came
    from variables. Raises ExpressionError with the place in the text.
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH:,} characters", offset=MAX_LENGTH)
    try:
        compiled = cel.compile(text)
    except Exception as error:
        raise _syntax_error(text, str(error)) from error
    return Program(text, compiled, scan(text, placeholders=placeholders), hidden)


def _syntax_error(text: str, report: str) -> ExpressionError:
    if not text.strip():
        return ExpressionError("the expression is empty", offset=0)
    foreign = advice(tuple(tokens(text)), text)
    if foreign is not None:
        return ExpressionError(foreign[0], offset=foreign[1])
    found = _SYNTAX.search(report)
    if found is None:
        problem = "nested too deeply" if "Recursion limit" in report else "this is no CEL expression"
        return ExpressionError(problem, offset=0)
    line, column, problem = int(found[1]), int(found[2]), found[3]
    lines = text.splitlines(keepends=True)
    offset = sum(len(one) for one in lines[: line - 1]) + column - 1
    if "Recursion limit" in problem:
        problem = "nested too deeply"
    elif problem.startswith("Incomplete"):
        problem = "? needs both its values: condition ? this : that"
    elif "'<EOF>'" in problem and "expecting <EOF>" not in problem:
        problem = "the expression ends too soon"
    return ExpressionError(problem.split(" expecting ")[0], offset=min(offset, len(text)))


class _Meter:
    """Counts the values that are handed over, and the longest list or map among them."""

    __slots__ = ("longest", "values")

    def __init__(self) -> None:
        self.values = 0
        self.longest = 0

    def add(self, count: int) -> None:
        self.values += count
        if self.values > MAX_VALUES:
            raise ExpressionError(f"too large: over {MAX_VALUES:,} values; name the parts that are needed")

    def check(self, growth: int, *, parts: int) -> None:
        longest = max(self.longest, parts)
        if self.values * longest**growth > MAX_WORK[growth - 1]:
            raise ExpressionError(
                f"too large for a macro: {self.values:,} values, up to {longest:,} in one list or map"
            )


def _attribute(name: str, shape: Shape) -> str:
    """Where a view has what a name stands for."""
    if name == "event" and shape and "received_at" not in shape:
        return "untimed"
    return "parsed" if name == "body" else name


_MISSING = object()


def _cut(value: Any, shape: Shape, meter: _Meter) -> Any:
    """Copy those parts of a value that the shape names, as CEL can hold them."""
    if shape is None:
        return _copy(value, meter)
    if isinstance(value, dict):
        return {key: _cut(value[key], part, meter) for key, part in shape.items() if key in value}
    if isinstance(value, list) and all(isinstance(key, int) for key in shape):
        length = min(max((key for key in shape if isinstance(key, int)), default=-1) + 1, len(value))
        return [_cut(value[at], shape[at], meter) if at in shape else None for at in range(length)]
    return _copy(value, meter)


def _copy(value: Any, meter: _Meter) -> Any:
    match value:
        case str():
            if len(value) > _CHARS_PER_VALUE:
                meter.add(len(value) // _CHARS_PER_VALUE)
            return value
        case bool() | None | float() | datetime():
            return value
        case int():
            return integer(value)
        case dict() | list():
            meter.add(len(value))
            meter.longest = max(meter.longest, len(value))
            if isinstance(value, dict):
                return {key: _copy(one, meter) for key, one in value.items()}
            return [_copy(one, meter) for one in value]
    raise ExpressionError(f"{type(value).__name__} is no value that an event has")


def _plain(value: Any) -> Any:
    """Turn a result into what JSON has, as CEL's specification of its JSON form says."""
    match value:
        case None | bool() | int() | str():
            return value
        case list():
            return [_plain(one) for one in value]
        case dict():
            return dict(sorted((_key(key), _plain(one)) for key, one in value.items()))
        case _:
            return _scalar(value)


def _scalar(value: object) -> float | str:
    match value:
        case float() if isfinite(value):
            return value
        case datetime():
            return _iso(value)
        case timedelta():
            return f"{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "s"
        case bytes():
            return b64encode(value).decode()
        case _:
            found = value if isinstance(value, float) else kind(value)
            raise ExpressionError(f"the result is {found}, which JSON does not have")


def _shown(value: Any) -> Any:
    """A value that was handed over, its timestamps as text."""
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    return _iso(value) if isinstance(value, datetime) else value


def _iso(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _key(key: object) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _leaves(path: str, value: Any, shape: Shape) -> Iterator[tuple[str, Any]]:
    """Yield each path that a shape names, with its value, or with `_MISSING` where it first is."""
    if not shape:
        yield path, value
        return
    for key, part in shape.items():
        deeper = _step(path, key)
        if isinstance(value, dict):
            yield from _leaves(deeper, value[key], part) if key in value else [(deeper, _MISSING)]
        elif isinstance(value, list) and isinstance(key, int) and key < len(value):
            yield from _leaves(deeper, value[key], part)
        else:
            yield path, value


def _step(path: str, key: Key) -> str:
    return f"{path}.{key}" if isinstance(key, str) and key.isidentifier() else f'{path}["{key}"]'
