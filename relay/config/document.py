"""One file or a folder of files, read into one tree: the sections of the configuration as written."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.config.interpolate import Interpolation
from relay.config.nodes import Entry, Items, Leaf, Node, Table, join, merge
from relay.config.reader import read
from relay.config.report import Place, Report, nearest, quoted
from relay.config.schema import File
from relay.config.values import is_name, shown

_ENDINGS = {".yaml", ".yml"}
_BIGGEST_FILE = 8 * 1024 * 1024
_NAMED = ("sources", "destinations")
_SECTIONS = tuple(File.model_fields)


@dataclass(frozen=True, slots=True)
class Document:
    """The sections with their defaults merged in; `digest` is of the text before variables."""

    sources: Table
    destinations: Table
    routes: Items
    defaults: Table
    retention: Table
    digest: str

    def root(self) -> Table:
        """All sections under their own names, as pydantic's locations begin."""
        parts = {name: getattr(self, name) for name in _SECTIONS}
        return Table(Place(""), {name: Entry(node.place, node) for name, node in parts.items()})


def read_document(path: Path, environ: Mapping[str, str], report: Report, *, allow_unset: bool) -> Document:
    """Read, fill in and combine; what cannot be read is in the report and left out."""
    digest = hashlib.sha256()
    tables = []
    for file in _files(path, report):
        text = _text(file, report)
        if text is None:
            continue
        digest.update(f"{file.name}\0{len(text)}\0{text}".encode())
        table = read(text, str(file), report)
        if table is None:
            continue
        filling = Interpolation(environ, file.parent, allow_unset, report)
        filled = filling.fill(table)
        if isinstance(filled, Table):
            tables.append(filled)
    return _combine(tables, Place(str(path)), digest.hexdigest()[:16], report)


def _files(path: Path, report: Report) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        # A mounted ConfigMap has hidden folders and links beside the files.
        found = sorted(
            file for file in path.iterdir() if file.suffix in _ENDINGS and not file.name.startswith(".")
        )
    except (OSError, ValueError) as error:
        report.add(Place(str(path)), f"cannot be read: {_reason(error)}")
        return []
    if not found:
        report.add(Place(str(path)), "no .yaml file in this folder; `relay init` writes one to start from")
    return found


def _text(file: Path, report: Report) -> str | None:
    try:
        with file.open("rb") as opened:
            content = opened.read(_BIGGEST_FILE + 1)
    except FileNotFoundError:
        report.add(Place(str(file)), "there is no such file; `relay init` writes one to start from")
        return None
    except (OSError, ValueError) as error:
        report.add(Place(str(file)), f"cannot be read: {_reason(error)}")
        return None
    if len(content) > _BIGGEST_FILE:
        report.add(Place(str(file)), "larger than 8MiB")
        return None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        report.add(Place(str(file), line, 1), "not UTF-8 text")
        return None


def _reason(error: OSError | ValueError) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no usable path"


def _combine(tables: list[Table], place: Place, digest: str, report: Report) -> Document:
    found: dict[str, list[Entry]] = {name: [] for name in _SECTIONS}
    for table in tables:
        for key, entry in table.entries.items():
            if key in found:
                found[key].append(entry)
            else:
                report.add(entry.place, "unknown key", key=key, nearest=nearest(key, _SECTIONS))
    top = tables[0].place if tables else place
    sections = {name: _section(name, entries, top, report) for name, entries in found.items()}
    defaults = sections["defaults"]
    routes = Items(top, tuple(node for entry in found["routes"] for node in _routes(entry, report)))
    if not sections["sources"].entries and tables and not report.mistakes:
        report.add(place, "at least one source is required", key="sources")
    return Document(
        sources=_each(sections["sources"], defaults, "source"),
        destinations=_each(sections["destinations"], defaults, "destination"),
        routes=Items(routes.place, tuple(_with(node, defaults, "route") for node in routes.nodes)),
        defaults=defaults,
        retention=sections["retention"],
        digest=digest,
    )


def _section(name: str, entries: list[Entry], top: Place, report: Report) -> Table:
    if name == "routes":
        return Table(top)
    place = entries[0].place if entries else top
    combined: dict[str, Entry] = {}
    for number, entry in enumerate(entries):
        if isinstance(entry.node, Leaf) and entry.node.value is None:
            continue
        if not isinstance(entry.node, Table):
            report.add(entry.node.place, f"expected a mapping, found {_kind(entry.node)}", key=name)
        elif name not in _NAMED and number:
            report.add(entry.place, f"this section stands in one file only; it is in {place}", key=name)
        else:
            _add_named(name, entry.node, combined, report)
    return Table(place, combined)


def _add_named(section: str, table: Table, combined: dict[str, Entry], report: Report) -> None:
    for name, entry in table.entries.items():
        key = join(section, name)
        if name in combined:
            report.add(entry.place, f"duplicate name, first used in {combined[name].place}", key=key)
            continue
        if section in _NAMED and not is_name(name):
            report.add(
                entry.place, "expected a name of letters, digits and . _ -", key=join(section, quoted(name))
            )
        elif section == "sources" and name == "relay":
            report.add(entry.place, "this name is Relay's own: choose another", key=key)
        combined[name] = entry


def _routes(entry: Entry, report: Report) -> tuple[Node, ...]:
    if isinstance(entry.node, Items):
        return entry.node.nodes
    if not (isinstance(entry.node, Leaf) and entry.node.value is None):
        message = f"expected a list of routes, each begun by `- `, found {_kind(entry.node)}"
        report.add(entry.node.place, message, key="routes")
    return ()


def _kind(node: Node) -> str:
    return (
        shown(node.value) if isinstance(node, Leaf) else "a mapping" if isinstance(node, Table) else "a list"
    )


def _each(table: Table, defaults: Table, kind: str) -> Table:
    entries = {
        name: Entry(entry.place, _with(entry.node, defaults, kind)) for name, entry in table.entries.items()
    }
    return Table(table.place, entries)


def _with(node: Node, defaults: Table, kind: str) -> Node:
    default = defaults.get(kind)
    return merge(node, default) if isinstance(node, Table) and isinstance(default, Table) else node
