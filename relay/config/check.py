"""What no single entry can know: names that lead nowhere, paths that overlap, routes that are hidden."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from relay.config.document import Document
from relay.config.model import PathPattern
from relay.config.nodes import Interpolated, Items, Leaf, Node, Table, leaves
from relay.config.report import Place, Report, nearest, quoted
from relay.config.values import shown
from relay.errors import ExpressionError
from relay.expressions import compile_program, compile_template

_PATH_NAME = re.compile(r"\bpath\.([A-Za-z_][A-Za-z0-9_]*)")


def check(document: Document, report: Report) -> None:
    """Put into the report what is wrong between the entries, and in their expressions."""
    patterns = _patterns(document.sources)
    _check_paths(patterns, document.sources, report)
    for name, entry in document.sources.entries.items():
        dedup = entry.node.get("dedup") if isinstance(entry.node, Table) else None
        key = dedup.get("key") if isinstance(dedup, Table) else None
        if key is not None:
            placeholders = patterns[name].placeholders if name in patterns else None
            _check_programs(key, f"sources.{name}.dedup.key", placeholders, report)
    _check_routes(document, patterns, report)


def _patterns(sources: Table) -> dict[str, PathPattern]:
    patterns = {}
    for name, entry in sources.entries.items():
        path = entry.node.get("path") if isinstance(entry.node, Table) else None
        text = path.value if isinstance(path, Leaf) and path.value is not None else f"/{name}"
        try:
            patterns[name] = PathPattern(str(text))
        except ValueError:
            continue  # said already, where the entry itself was read
    return patterns


@dataclass(slots=True)
class _Earlier:
    """The paths so far; thousands of plain ones are looked up and not compared one by one."""

    plain: dict[str, tuple[str, PathPattern]]
    open: list[tuple[str, PathPattern]]

    def overlapping(self, name: str, pattern: PathPattern) -> str | None:
        """Remember a path; the name of an earlier source that has it too."""
        if pattern.placeholders:
            others = [*self.plain.values(), *self.open]
            self.open.append((name, pattern))
        else:
            same = self.plain.get(pattern.template)
            others = [same] if same else self.open
            self.plain.setdefault(pattern.template, (name, pattern))
        return next((other for other, path in others if path.overlaps(pattern)), None)


def _check_paths(patterns: dict[str, PathPattern], sources: Table, report: Report) -> None:
    earlier = _Earlier({}, [])
    for name, pattern in patterns.items():
        other = earlier.overlapping(name, pattern)
        if other is None:
            continue
        entry = sources.entries[name]
        path = entry.node.get("path") if isinstance(entry.node, Table) else None
        first = sources.entries[other].place
        message = f"a request could be for this source or for {other} ({first}): their paths overlap"
        report.add(path.place if path else entry.place, message, key=f"sources.{name}.path")


@dataclass(slots=True)
class _Seen:
    """What the routes so far mean for the next one."""

    names: dict[str, Place]
    stops: dict[str, Place]


def _check_routes(document: Document, patterns: dict[str, PathPattern], report: Report) -> None:
    seen = _Seen({}, {})
    for index, node in enumerate(document.routes.nodes):
        if not isinstance(node, Table):
            continue
        key = f"routes[{index}]"
        source = _text(node.get("source"))
        _check_target(node.get("source"), f"{key}.source", "source", document.sources.entries, report)
        _check_target(node.get("to"), f"{key}.to", "destination", document.destinations.entries, report)
        _check_expressions(node, key, patterns[source].placeholders if source in patterns else None, report)
        _check_name(node, key, seen, report)
        if source is not None:
            _check_hidden(node, key, source, seen, report)


def _text(node: Node | None) -> str | None:
    return str(node.value) if isinstance(node, Leaf) and isinstance(node.value, str) else None


def _check_target(node: Node | None, key: str, kind: str, valid: Collection[str], report: Report) -> None:
    for leaf in _scalars(node):
        if not isinstance(leaf.value, str) or leaf.value in valid:
            continue
        if isinstance(leaf.value, Interpolated):
            if not leaf.value.unset:
                report.add(leaf.place, f"there is no {kind} {shown(leaf.value)}", key=key)
            continue
        close = nearest(leaf.value, valid)
        report.add(leaf.place, f"there is no {kind} {shown(leaf.value)}", key=key, nearest=close)


def _scalars(node: Node | None) -> list[Leaf]:
    if isinstance(node, Leaf):
        return [node]
    return [item for item in node.nodes if isinstance(item, Leaf)] if isinstance(node, Items) else []


def route_name(node: Table, *, written: bool = False) -> str | None:
    """The name of a route, by default from its source and destinations; `written` keeps variables."""

    def text(leaf: Node | None) -> str | None:
        if written and isinstance(leaf, Leaf) and isinstance(leaf.value, Interpolated):
            return leaf.value.written
        return _text(leaf)

    name, source = text(node.get("name")), text(node.get("source"))
    to = [text(leaf) or "" for leaf in _scalars(node.get("to"))]
    return name or (f"{source}-to-{'-'.join(to)}" if source and to else None)


def _check_name(node: Table, key: str, seen: _Seen, report: Report) -> None:
    name = route_name(node)
    if name is None:
        return
    written = node.get("name")
    place = written.place if written else node.place
    if name in seen.names:
        hint = "" if written else ", the default: give it a `name`"
        message = f"duplicate route name {quoted(route_name(node, written=True) or name)}{hint}"
        report.add(place, f"{message}, first used in {seen.names[name]}", key=f"{key}.name")
    seen.names.setdefault(name, place)


def _check_hidden(node: Table, key: str, source: str, seen: _Seen, report: Report) -> None:
    if source in seen.stops:
        message = f"no event comes here: the route in {seen.stops[source]} takes every one and has `stop`"
        report.add(node.place, message, key=key)
        return
    stop, when = node.get("stop"), node.get("when")
    everything = when is None or (isinstance(when, Items) and not when.nodes)
    if isinstance(stop, Leaf) and stop.value in (True, "true") and everything:
        seen.stops[source] = node.place


def _check_expressions(node: Table, key: str, placeholders: tuple[str, ...] | None, report: Report) -> None:
    if (when := node.get("when")) is not None:
        _check_programs(when, f"{key}.when", placeholders, report)
    transform = node.get("transform")
    if not isinstance(transform, Table):
        return
    for part in ("json", "text", "headers"):
        tree = transform.get(part)
        if tree is None:
            continue
        for path, leaf in leaves(tree, f"{key}.transform.{part}", keys=part == "json"):
            if isinstance(leaf.value, str):
                _check_template(leaf, path, placeholders, report)


def _check_programs(node: Node, key: str, placeholders: tuple[str, ...] | None, report: Report) -> None:
    for path, leaf in leaves(node, key):
        if not isinstance(leaf.value, str) or not leaf.value.strip():
            continue
        try:
            compile_program(str(leaf.value), placeholders=_known(leaf, placeholders))
        except ExpressionError as error:
            _refuse(leaf, path, error, report)


def _check_template(leaf: Leaf, key: str, placeholders: tuple[str, ...] | None, report: Report) -> None:
    try:
        compile_template(str(leaf.value), placeholders=_known(leaf, placeholders))
    except ExpressionError as error:
        _refuse(leaf, key, error, report)


def _known(leaf: Leaf, placeholders: tuple[str, ...] | None) -> Collection[str]:
    """Where the source is not known, whatever the expression takes from the path may be there."""
    return _PATH_NAME.findall(str(leaf.value)) if placeholders is None else placeholders


def _refuse(leaf: Leaf, key: str, error: ExpressionError, report: Report) -> None:
    if isinstance(leaf.value, Interpolated):
        if not leaf.value.unset:
            report.add(leaf.place, "does not compile once its variables are filled in", key=key)
        return
    if leaf.place in report.spoiled:
        return
    report.add(leaf.at(error.offset), f"does not compile: {error}", key=key)
