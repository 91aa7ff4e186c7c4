"""One file or a folder of files, read into one tree: the sections of the configuration as written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relay.config.merge import under
from relay.config.shape.file import File
from relay.config.shape.scalars import is_name, shown
from relay.config.yaml.fingerprint import Used
from relay.config.yaml.interpolate import Interpolation
from relay.config.yaml.nodes import Entry, Items, Leaf, Node, Table, join
from relay.config.yaml.reader import read
from relay.config.yaml.report import Place, Report, nearest, quoted

_ENDINGS = {".yaml", ".yml"}
_BIGGEST_FILE = 8 * 1024 * 1024
_NAMED = ("sources", "destinations")
_LISTS = ("routes", "alerts")
_SECTIONS = tuple(File.model_fields)


@dataclass(frozen=True, slots=True)
class Document:
    """The sections with their defaults merged in."""

    sources: Table
    destinations: Table
    routes: Items
    defaults: Table
    egress: Table
    retention: Table
    alerts: Items

    def root(self) -> Table:
        """All sections under their own names, as pydantic's locations begin."""
        parts = {name: getattr(self, name) for name in _SECTIONS}
        return Table(Place(""), {name: Entry(node.place, node) for name, node in parts.items()})


def read_document(
    path: Path, environ: Mapping[str, str] | None, report: Report, used: Used, *, allow_unset: bool
) -> Document:
    """Read, fill in and combine; what cannot be read is in the report and left out."""
    tables = []
    for file in _files(path, report):
        used.files.append(file)
        text = _text(file, report)
        if text is None:
            continue
        used.add_text(file.name, text)
        table = read(text, str(file), report)
        if table is None:
            continue
        filled = Interpolation(environ, file.parent, allow_unset, report, used).fill(table)
        if isinstance(filled, Table):
            tables.append(filled)
    return _combine(tables, Place(str(path)), report)


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


def _combine(tables: list[Table], place: Place, report: Report) -> Document:
    found: dict[str, list[Entry]] = {name: [] for name in _SECTIONS}
    for table in tables:
        for key, entry in table.entries.items():
            section = key if key in found else _misspelt(key, entry, table, report)
            if section is not None:
                found[section].append(entry)
    top = tables[0].place if tables else place
    sections = {
        name: _section(name, entries, top, report) for name, entries in found.items() if name not in _LISTS
    }
    lists = {name: _joined(name, found[name], top, report) for name in _LISTS}
    defaults = sections["defaults"]
    if not sections["sources"].entries and tables and not report.mistakes:
        report.add(place, "at least one source is required", key="sources")
    routes = (under(node, defaults.get("route"), "route") for node in lists["routes"].nodes)
    return Document(
        sources=_each(sections["sources"], defaults, "source"),
        destinations=_each(sections["destinations"], defaults, "destination"),
        routes=Items(top, tuple(routes)),
        defaults=defaults,
        egress=sections["egress"],
        retention=sections["retention"],
        alerts=lists["alerts"],
    )


def _misspelt(key: str, entry: Entry, table: Table, report: Report) -> str | None:
    """Report a section that there is not; what it was meant for is read so, or each name would be missed."""
    meant = nearest(key, _SECTIONS)
    report.add(entry.place, "unknown key", key=key, nearest=meant)
    return meant if meant not in table.entries else None


def _section(name: str, entries: list[Entry], top: Place, report: Report) -> Table:
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


def _joined(name: str, entries: list[Entry], top: Place, report: Report) -> Items:
    """A section that is a list: those of all files, one after the other."""
    nodes: list[Node] = []
    for entry in entries:
        if isinstance(entry.node, Items):
            nodes += entry.node.nodes
        elif not (isinstance(entry.node, Leaf) and entry.node.value is None):
            message = f"expected a list of {name}, each begun by `- `, found {_kind(entry.node)}"
            report.add(entry.node.place, message, key=name)
    return Items(top, tuple(nodes))


def _kind(node: Node) -> str:
    return (
        shown(node.value) if isinstance(node, Leaf) else "a mapping" if isinstance(node, Table) else "a list"
    )


def _each(table: Table, defaults: Table, kind: str) -> Table:
    default = defaults.get(kind)
    entries = {
        name: Entry(entry.place, under(entry.node, default, kind)) for name, entry in table.entries.items()
    }
    return Table(table.place, entries)
