"""What no single entry can know: names that lead nowhere, paths that overlap, routes that are hidden."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from relay.config.document import Document
from relay.config.model import PathPattern
from relay.config.shape.scalars import shown
from relay.config.yaml.nodes import Interpolated, Items, Leaf, Node, Table
from relay.config.yaml.report import Place, Report, nearest, quoted


def check(document: Document, report: Report) -> None:
    """Put into the report what is wrong between the entries."""
    _check_paths(patterns(document.sources), document.sources, report)
    _check_routes(document, report)
    for index, node in enumerate(document.alerts.nodes):
        if isinstance(node, Table):
            key = f"alerts[{index}].to"
            _check_target(node.get("to"), key, "destination", document.destinations.entries, report)


def patterns(sources: Table) -> dict[str, PathPattern]:
    """The path of each source, as far as they can be read."""
    found = {}
    for name, entry in sources.entries.items():
        path = entry.node.get("path") if isinstance(entry.node, Table) else None
        text = path.value if isinstance(path, Leaf) and path.value is not None else f"/{name}"
        try:
            found[name] = PathPattern(str(text))
        except ValueError:
            continue  # said already, where the entry itself was read
    return found


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


def _check_paths(paths: dict[str, PathPattern], sources: Table, report: Report) -> None:
    earlier = _Earlier({}, [])
    for name, pattern in paths.items():
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


def _check_routes(document: Document, report: Report) -> None:
    seen = _Seen({}, {})
    for index, node in enumerate(document.routes.nodes):
        if not isinstance(node, Table):
            continue
        key = f"routes[{index}]"
        source = _text(node.get("source"))
        _check_target(node.get("source"), f"{key}.source", "source", document.sources.entries, report)
        _check_target(node.get("to"), f"{key}.to", "destination", document.destinations.entries, report)
        _check_subject(node, key, document.destinations, report)
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


def _check_subject(node: Table, key: str, destinations: Table, report: Report) -> None:
    """A subject is an email's; what else the route leads to could do nothing with it."""
    transform = node.get("transform")
    subject = transform.entries.get("subject") if isinstance(transform, Table) else None
    if subject is None:
        return
    for leaf in _scalars(node.get("to")):
        to = destinations.get(leaf.value) if isinstance(leaf.value, str) else None
        if isinstance(to, Table) and "email" not in to.entries:
            message = (
                f"a subject is for an email, and {shown(leaf.value)} is none: give it a route of its own"
            )
            report.add(subject.place, message, key=f"{key}.transform.subject")
            return
