"""Reads YAML text into nodes with places, refusing what YAML 1.1 would quietly turn into something else."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from relay.config.yaml.nodes import Entry, Items, Leaf, Node, Table, join
from relay.config.yaml.report import Place, Report, quoted

_DEEPEST = 64
_MOST_VALUES = 100_000

# libyaml's parser where it is compiled in: several times faster, and the same events.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# Events of the two parsers have marks of two types.
_Event: TypeAlias = Any

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_CORE_TAGS = {
    f"tag:yaml.org,2002:{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")
}
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_HEXADECIMAL = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_BIGGEST = 2**63


class _Stop(Exception):
    """The rest of this file cannot be read."""


def read(text: str, file: str, report: Report) -> Table | None:
    """The top mapping of a file, or None where there is none to speak of; mistakes go to the report."""
    lines = _BREAK.split(text)
    loader: Any = None
    try:
        loader = _Loader(text)
        return _Reader(loader=loader, file=file, lines=lines, report=report).document()
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        report.add(place, f"not valid YAML: {_reason(error, lines)}")
    except yaml.reader.ReaderError:
        line = next((number for number, line in enumerate(lines, 1) if _UNPRINTABLE.search(line)), 0)
        report.add(Place(file, line, 1 if line else 0), "not valid YAML: a control character")
    finally:
        if loader is not None:
            loader.dispose()
    return None


def _reason(error: yaml.MarkedYAMLError, lines: list[str]) -> str:
    mark = error.problem_mark
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    if line[: len(line) - len(line.lstrip())].count("\t"):
        return "lines are indented by spaces, this one has a tab"
    return ", ".join(part for part in (error.problem, error.context) if part)


@dataclass(slots=True)
class _Reader:
    """Builds nodes from the parser's events, which keep the tags that a composed tree has lost."""

    loader: Any
    file: str
    lines: list[str]
    report: Report
    anchors: dict[str, tuple[Node, int]] = field(default_factory=dict)
    count: int = 0

    def document(self) -> Table | None:
        self.loader.get_event()
        if self.loader.check_event(yaml.StreamEndEvent):
            return Table(Place(self.file))
        self.loader.get_event()
        node = self.node(0, "")
        self.loader.get_event()
        if not self.loader.check_event(yaml.StreamEndEvent):
            self.report.add(
                self.place(self.loader.peek_event()), "a file holds one document: take the `---` out"
            )
        if isinstance(node, Leaf) and node.value is None:
            return Table(Place(self.file))
        if not isinstance(node, Table):
            self.report.add(node.place, "expected a mapping with sources, destinations and routes")
            return None
        return node

    def place(self, event: _Event) -> Place:
        return Place(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def stop(self, place: Place, message: str) -> _Stop:
        self.report.add(place, message)
        return _Stop()

    def node(self, depth: int, path: str) -> Node:
        event = self.loader.get_event()
        place = self.place(event)
        if depth > _DEEPEST:
            raise self.stop(place, f"nested deeper than {_DEEPEST}")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, place)
        before = self.count
        self.grow(1, place)
        self.tag(event, place, path)
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self.scalar(event, place, path)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self.items(place, depth, path)
        else:
            node = self.table(place, depth, path)
        # Known only when complete, so that nothing can hold itself.
        if event.anchor:
            self.anchors[event.anchor] = node, self.count - before
        return node

    def grow(self, values: int, place: Place) -> None:
        self.count += values
        if self.count > _MOST_VALUES:
            raise self.stop(place, f"more than {_MOST_VALUES} values, aliases written out")

    def alias(self, event: _Event, place: Place) -> Node:
        if event.anchor not in self.anchors:
            raise self.stop(
                place, f"`*{event.anchor}` is an alias: no complete `&{event.anchor}` stands before it"
            )
        node, values = self.anchors[event.anchor]
        self.grow(values, place)
        return node

    def tag(self, event: _Event, place: Place, path: str) -> None:
        tag: str | None = event.tag
        if tag is None or tag in _CORE_TAGS:
            return
        shown = tag.replace("tag:yaml.org,2002:", "!!") if tag != "!" else "!"
        message = f"an unquoted `!` starts a tag, here `{shown}`, which is refused: put the value in quotes"
        self.report.add(place, message, key=path, spoil=True)

    def items(self, place: Place, depth: int, path: str) -> Items:
        nodes: list[Node] = []
        while not self.loader.check_event(yaml.SequenceEndEvent):
            nodes.append(self.node(depth + 1, f"{path}[{len(nodes)}]"))
        self.loader.get_event()
        return Items(place, tuple(nodes))

    def table(self, place: Place, depth: int, path: str) -> Table:
        entries: dict[str, Entry] = {}
        while not self.loader.check_event(yaml.MappingEndEvent):
            name, spot = self.key(depth, path)
            value = self.node(depth + 1, join(path, name or ""))
            if name is None:
                continue
            if name in entries:
                first = entries[name].place.line
                self.report.add(spot, f"duplicate key, first written in line {first}", key=join(path, name))
                continue
            entries[name] = Entry(spot, value)
        self.loader.get_event()
        return Table(place, entries)

    def key(self, depth: int, path: str) -> tuple[str | None, Place]:
        event = self.loader.peek_event()
        place = self.place(event)
        if isinstance(event, yaml.ScalarEvent):
            self.loader.get_event()
            self.grow(1, place)
            self.tag(event, place, path)
            return self.key_text(event, place, path), place
        hole = self.lines[place.line - 1][max(0, place.column - 2) :].startswith("{{")
        self.node(depth + 1, path)
        if hole:
            # The mapping around it is what the later checks would stumble over.
            place = Place(place.file, place.line, place.column - 1)
        text = (
            'a value that begins with a hole must be in quotes: "{{ … }}"' if hole else "a key must be text"
        )
        self.report.add(place, text, key=path, spoil=True)
        return None, place

    def key_text(self, event: _Event, place: Place, path: str) -> str | None:
        text: str = event.value
        if not event.implicit[0]:
            return text
        if text == "<<":
            self.report.add(place, "merge keys are not read: write the keys out, or use `defaults`", key=path)
            return None
        if (value := _resolve(self.loader, text)).complaint and not text.isdecimal():
            self.report.add(place, value.complaint, key=join(path, text), spoil=True)
        return text

    def scalar(self, event: _Event, place: Place, path: str) -> Leaf:
        text: str = event.value
        start = self.first_character(event, place)
        explicit = _CORE_TAGS.get(event.tag or "")
        if explicit == "str" or (explicit is None and not event.implicit[0]):
            return Leaf(place, text, start)
        value = _resolve(self.loader, text)
        if value.complaint:
            self.report.add(place, value.complaint, key=path, spoil=True)
        elif not event.style:
            self.look_for_cut(event, place, path)
        return Leaf(place, value.value, start)

    def look_for_cut(self, event: _Event, place: Place, path: str) -> None:
        """A `#` after a space begins a comment; say so where it looks as if the value went on."""
        rest = self.lines[event.end_mark.line][event.end_mark.column :]
        comment = rest.lstrip(" \t")
        if not comment.startswith("#"):
            return
        text: str = event.value
        unfinished = text.count('"') % 2 == 1 or text.count("{{") > text.count("}}")
        if unfinished or re.match(r"#[^\s#!=-]", comment):
            message = "the value ends before ` #`, which begins a comment: put the whole value in quotes"
            self.report.add(place, message + ", or a space after the `#`", key=path, spoil=True)

    def first_character(self, event: _Event, place: Place) -> Place | None:
        """Where the scalar's text begins, if it stands in the file as it is."""
        start, end = event.start_mark, event.end_mark
        if event.style == "|":
            return self.block_start(start.line)
        line = self.lines[start.line]
        raw = line[start.column : end.column] if start.line == end.line else ""
        shift = 1 if event.style in {'"', "'"} else 0
        if raw[shift : len(raw) - shift] == event.value:
            return Place(self.file, place.line, place.column + shift)
        return None

    def block_start(self, header: int) -> Place | None:
        for number, line in enumerate(self.lines[header + 1 :], header + 1):
            if line.strip():
                indent = len(line) - len(line.lstrip(" "))
                # An indentation indicator or leading blank lines shift the text: then no exact place.
                exact = number == header + 1 and not re.search(r"[|][-+]?[1-9]", self.lines[header])
                return Place(self.file, number + 1, indent + 1) if exact else None
        return None


@dataclass(frozen=True, slots=True)
class _Value:
    """A plain scalar as YAML 1.1 takes it, or the reason to refuse that."""

    value: str | int | float | bool | None
    complaint: str = ""


def _resolve(loader: Any, text: str) -> _Value:
    kind = loader.resolve(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]
    match kind:
        case "null":
            return _Value(None)
        case "bool":
            return _boolean(text)
        case "int" | "float":
            return _number(text)
        case "timestamp":
            return _Value(text, f"YAML takes {quoted(text)} for a date: put it in quotes")
        case _:
            return _Value(text)


def _boolean(text: str) -> _Value:
    if text.lower() in {"true", "false"}:
        return _Value(text.lower() == "true")
    value = str(text.lower() in {"yes", "on"}).lower()
    return _Value(text, f'YAML takes {quoted(text)} for {value}: write {value}, or "{text}" in quotes')


def _number(text: str) -> _Value:
    if _DECIMAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        number = int(text, 0) if len(text) < len(str(_BIGGEST)) + 2 else _BIGGEST
        if -_BIGGEST <= number < _BIGGEST:
            return _Value(number)
        return _Value(text, "a number beyond 64 bits: put it in quotes")
    if _FLOAT.fullmatch(text) and math.isfinite(float(text)):
        return _Value(float(text))
    if ":" in text:
        return _Value(text, f"YAML takes {quoted(text)} for a number in base 60: put it in quotes")
    return _Value(text, f"YAML takes {quoted(text)} for another number than it looks like: put it in quotes")
