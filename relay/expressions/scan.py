"""Reads the tokens of a CEL expression: which names, parts and functions it uses, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from relay.errors import ExpressionError
from relay.expressions.library import cel

EVENT_FIELDS = ("id", "type", "provider_id", "source", "received_at")
ROOTS = ("event", "body", "raw", "headers", "query", "path", "method")
TYPE_NAMES = ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
MACROS = {**dict.fromkeys(("all", "exists", "exists_one", "existsOne", "filter"), (3, 3)), "map": (3, 4)}
EXTRA_FUNCTIONS = {
    "get": (2, 3),
    "lower": (1, 1),
    "upper": (1, 1),
    "split": (2, 2),
    "replace": (3, 3),
    "sha256": (1, 1),
}
# What the package itself has; the numbers of arguments count the receiver.
GLOBAL_FUNCTIONS = {
    **dict.fromkeys(
        ("bytes", "double", "duration", "dyn", "has", "int", "size", "string", "timestamp", "type", "uint"),
        (1, 1),
    ),
    **EXTRA_FUNCTIONS,
}
METHODS = {
    **dict.fromkeys(("contains", "endsWith", "matches", "startsWith"), (2, 2)),
    **dict.fromkeys(
        (
            "size",
            "getDate",
            "getDayOfMonth",
            "getDayOfWeek",
            "getDayOfYear",
            "getFullYear",
            "getHours",
            "getMilliseconds",
            "getMinutes",
            "getMonth",
            "getSeconds",
        ),
        (1, 1),
    ),
    **EXTRA_FUNCTIONS,
}

Key = str | int
Shape = dict[Key, "Shape"] | None
"""The parts of a value that a program names: None is the whole, {} only that it is there, and its kind."""

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\n]* )
  | (?P<string> [bB]?[rR] (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
              | [bB]? (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ) )
  | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | (?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]? )
  | (?P<name> [A-Za-z_][A-Za-z_0-9]* )
  | (?P<op> && | \|\| | == | != | <= | >= | . )
    """,
    re.VERBOSE | re.DOTALL,
)
# A comparison that starts after one of these, and ends before one of those, stands by itself.
_OPENERS = frozenset({"", "(", "[", ",", "?", ":", "!", "&&", "||"})
_ENDERS = frozenset({"", ")", "]", "}", ",", "?", ":", "&&", "||"})
_LARGE = frozenset({"body", "raw", "headers", "query", "path"})
_WORDS = frozenset({"true", "false", "null", "in"})
_ELSEWHERE = {"True": "true", "False": "false", "None": "null", "nil": "null", "undefined": "null"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of CEL: its kind (string, number, name or op), text and place in the source."""

    kind: str
    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """A call: the tokens of its name, its parentheses, and how many arguments it has, receiver included."""

    name: int
    open: int
    close: int
    arguments: int
    method: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a program uses of its event; `growth` says how its cost grows with what it is given.

    0: in step with the number of values; 1: times the length of the longest list; 2: times its square.
    """

    shapes: tuple[tuple[str, Shape], ...]
    functions: tuple[str, ...]
    growth: int


def tokens(text: str, start: int = 0) -> Iterator[Token]:
    """Yield the tokens of CEL from `start` on, without spaces and comments."""
    for found in _TOKEN.finditer(text, start):
        kind = found.lastgroup
        if kind is not None and kind != "space":
            yield Token(kind, found.group(), found.start())


def nearest(name: str, valid: Collection[str]) -> str:
    """Say which valid name is closest, or, where none is close, which there are."""
    close = get_close_matches(name, valid, n=1, cutoff=0.6)
    if not close:
        close = [one for one in valid if one.lower() == name.lower()]
    return f"did you mean {close[0]!r}?" if close else "there are " + ", ".join(sorted(valid))


def scan(text: str, *, placeholders: Collection[str] | None) -> Usage:
    """Find what a program that compiles uses; raise ExpressionError at what Relay refuses."""
    return _Scan(tuple(tokens(text)), placeholders).usage()


class _Scan:
    """One pass over the tokens of one program."""

    def __init__(self, found: Sequence[Token], placeholders: Collection[str] | None) -> None:
        self._tokens = found
        self._placeholders = placeholders
        self._shapes: dict[str, Shape] = {}
        self._calls = {call.name: call for call in self._find_calls()}
        self._macros = [
            call for call in self._calls.values() if call.method and self._text(call.name) in MACROS
        ]

    def usage(self) -> Usage:
        """Check every token and gather what the program uses."""
        for call in self._calls.values():
            self._check_call(call)
        for outer in self._macros:
            self._check_macro(outer)
        for index, token in enumerate(self._tokens):
            if token.kind == "name" and token.text not in _WORDS:
                self._check_name(index)
        used = {self._text(call.name) for call in self._calls.values()}
        return Usage(
            shapes=tuple(self._shapes.items()),
            functions=tuple(sorted(used & EXTRA_FUNCTIONS.keys())),
            growth=self._growth(),
        )

    def _text(self, index: int) -> str:
        return self._tokens[index].text if 0 <= index < len(self._tokens) else ""

    def _kind(self, index: int) -> str:
        return self._tokens[index].kind if 0 <= index < len(self._tokens) else ""

    def _refuse(self, index: int, message: str) -> ExpressionError:
        return ExpressionError(message, offset=self._tokens[index].offset)

    def _find_calls(self) -> Iterator[Call]:
        for index in range(len(self._tokens)):
            name = index - 1
            if self._text(index) != "(" or self._kind(name) != "name" or self._text(name) in _WORDS:
                continue
            method = self._text(name - 1) == "."
            close, count = self._arguments(index)
            yield Call(name, index, close, count + method, method)

    def _arguments(self, start: int) -> tuple[int, int]:
        depth, commas = 0, 0
        for index in range(start, len(self._tokens)):
            text = self._text(index) if self._kind(index) == "op" else ""
            depth += (text in {"(", "[", "{"}) - (text in {")", "]", "}"})
            if depth == 0:
                return index, 0 if index == start + 1 else commas + 1
            commas += depth == 1 and text == ","
        return len(self._tokens), commas + 1

    def _check_call(self, call: Call) -> None:
        name = self._text(call.name)
        valid, other = (
            ({**METHODS, **MACROS}, GLOBAL_FUNCTIONS) if call.method else (GLOBAL_FUNCTIONS, METHODS)
        )
        if name in other and name not in valid:
            form = f"{name}(value)" if call.method else f"value.{name}(…)"
            raise self._refuse(call.name, f"{name} is written {form}")
        if name not in valid:
            raise self._refuse(call.name, f"unknown function {name!r}: {nearest(name, valid)}")
        least, most = (count - call.method for count in valid[name])
        given = call.arguments - call.method
        if not least <= given <= most:
            wanted = f"{least}" if least == most else f"{least} or {most}"
            raise self._refuse(call.name, f"{name} takes {wanted} arguments here, and has {given}")
        if name == "matches" and self._kind(call.open + 1) == "string" and call.close == call.open + 2:
            self._check_pattern(call.open + 1)

    def _check_pattern(self, index: int) -> None:
        try:
            cel.evaluate(f"''.matches({self._text(index)})")
        except Exception as error:
            raise self._refuse(index, "not a regular expression that RE2 knows, or too large") from error

    def _check_macro(self, outer: Call) -> None:
        for inner in self._macros:
            if outer.open < inner.name < outer.close:
                message = (
                    f"{self._text(inner.name)} inside {self._text(outer.name)}: a macro inside a macro takes "
                    "time that grows with the square of what a sender posts"
                )
                raise self._refuse(inner.name, message)
        bound = outer.open + 1
        if self._text(bound) in {*ROOTS, *TYPE_NAMES}:
            raise self._refuse(bound, f"{self._text(bound)!r} is a name of Relay's; give this one another")

    def _check_name(self, index: int) -> None:
        name = self._text(index)
        if self._text(index - 1) == ".":
            # `.name` at the start of an operand asks for the outermost scope, which has nothing.
            if self._kind(index - 2) in {"", "op"} and self._text(index - 2) not in {")", "]", "}"}:
                raise self._refuse(index - 1, f"unknown name '.{name}': {nearest(name, ROOTS)}")
            return
        if index in self._calls:
            return
        if self._text(index + 1) == "{":
            raise self._refuse(index, f"unknown type {name!r}: messages cannot be made here")
        if name in ROOTS:
            self._use(index)
        elif name not in TYPE_NAMES and not self._is_bound(index):
            word = _ELSEWHERE.get(name)
            hint = f"did you mean {word!r}?" if word else nearest(name, ROOTS)
            raise self._refuse(index, f"unknown name {name!r}: {hint}")

    def _is_bound(self, index: int) -> bool:
        name = self._text(index)
        return any(
            macro.open < index < macro.close and self._text(macro.open + 1) == name for macro in self._macros
        )

    def _use(self, index: int) -> None:
        """Gather the part that is named from the token `index` on, and only what is asked of it."""
        root, (places, end) = self._text(index), self._path(index)
        path = [self._key(place) for place in places]
        before, after, whole = self._text(index - 1), self._text(end), True
        asked = before == "(" and self._text(index - 2) == "has" and after == ")"
        compared = before in _OPENERS and after in {"==", "!="} and self._text(end + 1) == "null"
        if asked or compared:
            whole = False
        elif before == "in" and self._text(index - 3) in _OPENERS and after in _ENDERS:
            whole = not self._extend(path, places, index - 2)
        elif before == "(" and self._text(index - 2) == "get" and index - 2 in self._calls and after == ",":
            self._extend(path, places, end + 1, dotted=self._text(end + 2) in {",", ")"})
        elif after == "." and self._text(end + 1) == "get":
            self._extend(path, places, end + 3, dotted=self._text(end + 4) in {",", ")"})
        self._check_path(root, path, [index, *places])
        _add(self._shapes, (root, *path), whole=whole)

    def _extend(self, path: list[Key], places: list[int], index: int, *, dotted: bool | None = None) -> bool:
        """Add the literal at `index` to the path, if it is one: the key of `in`, or the path of `get`."""
        if dotted is False or self._kind(index) != "string":
            return False
        value = cel.evaluate(self._text(index))
        if not isinstance(value, str):
            return False
        path.extend(value.split(".") if dotted else [value])
        places.extend([index] * (len(path) - len(places)))
        return True

    def _path(self, index: int) -> tuple[list[int], int]:
        """Return the tokens of the literal keys that follow a name, and the first token after them."""
        places, at = [], index + 1
        while True:
            if self._text(at) == "." and at + 1 not in self._calls and self._kind(at + 1) == "name":
                places.append(at + 1)
                at += 2
            elif self._text(at) == "[" and self._text(at + 2) == "]" and self._is_key(at + 1):
                places.append(at + 1)
                at += 3
            else:
                return places, at

    def _is_key(self, index: int) -> bool:
        text = self._text(index)
        return text.isdecimal() or (self._kind(index) == "string" and text[0] not in "bB")

    def _key(self, index: int) -> Key:
        token = self._tokens[index]
        if token.kind == "name":
            return token.text
        value: Key = cel.evaluate(token.text)
        return value

    def _check_path(self, root: str, path: Sequence[Key], places: Sequence[int]) -> None:
        first = path[0] if path else None
        if not isinstance(first, str):
            return
        if root == "event" and first not in EVENT_FIELDS:
            raise self._refuse(places[1], f"event has no field {first!r}: {nearest(first, EVENT_FIELDS)}")
        if root == "headers" and first != first.lower():
            message = f"header names are lower case here: did you mean {first.lower()!r}?"
            raise self._refuse(places[1], message)
        known = self._placeholders
        if root == "path" and known is not None and first not in known:
            hint = nearest(first, known) if known else "this source's path has no {placeholders}"
            raise self._refuse(places[1], f"path has no placeholder {first!r}: {hint}")

    def _growth(self) -> int:
        growth = 0
        for macro in self._macros:
            # `map` and `filter` copy what they have gathered at every step.
            copies = self._text(macro.name) in {"map", "filter"}
            heavy = any(self._is_heavy(index) for index in range(macro.open, macro.close))
            growth = max(growth, copies + heavy)
        return growth

    def _is_heavy(self, index: int) -> bool:
        """Whether the value at a token may itself grow with what was posted."""
        text = self._text(index)
        if index in self._calls:
            return text == "split"
        return self._kind(index) == "name" and text in _LARGE and self._text(index - 1) != "."


def _add(shapes: dict[str, Shape], path: Sequence[Key], *, whole: bool) -> None:
    """Mark one path in the shapes; the whole of a value includes its parts."""
    here: dict[Key, Shape] = shapes  # type: ignore[assignment]
    for key in path[:-1]:
        deeper = here.setdefault(key, {})
        if deeper is None:
            return
        here = deeper
    if whole:
        here[path[-1]] = None
    else:
        here.setdefault(path[-1], {})
