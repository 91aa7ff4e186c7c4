"""YAML as a tree of values that know where they stand, so that every mistake can name its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

from relay.config.yaml.report import Place
from relay.expressions import Hidden


class Interpolated(str):
    """Text in which a `${…}` was filled in: its value may be a secret, so only `written` is shown."""

    __slots__ = ("hidden", "unset", "written")

    written: str
    unset: bool
    hidden: Hidden

    def __new__(
        cls, value: str, *, written: str, unset: bool = False, values: tuple[tuple[str, str], ...] = ()
    ) -> Self:
        """Keep what the file says; `unset` marks a stand-in for a variable without a value.

        `values` are those that were filled in, each with its reference.
        """
        text = super().__new__(cls, value)
        text.written = written
        text.unset = unset
        text.hidden = Hidden(values, written)
        return text

    def __repr__(self) -> str:
        return f"Interpolated({self.written!r})"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar. `text` is the place of its first character, where every later one follows from it."""

    place: Place
    value: str | int | float | bool | None
    text: Place | None = None

    def at(self, offset: int | None) -> Place:
        """The place of the character at this offset, else of the whole scalar."""
        if offset is None or self.text is None or not isinstance(self.value, str):
            return self.place
        # What is missing at the end is missing after the last word, not in the line below.
        offset = min(offset, len(self.value.rstrip()))
        before = self.value[:offset]
        column = offset - (before.rfind("\n") + 1)
        return Place(self.text.file, self.text.line + before.count("\n"), self.text.column + column)


@dataclass(frozen=True, slots=True)
class Items:
    """A YAML sequence."""

    place: Place
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping: where the key stands, and its value."""

    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class Table:
    """A YAML mapping, in the order of the file."""

    place: Place
    entries: Mapping[str, Entry] = field(default_factory=dict)

    def get(self, key: str) -> Node | None:
        """The value of a key, if it is there."""
        entry = self.entries.get(key)
        return entry.node if entry else None


Node: TypeAlias = Leaf | Items | Table


def plain(node: Node) -> Any:
    """The tree as ordinary Python values; text that was filled in stays `Interpolated`."""
    match node:
        case Leaf():
            return node.value
        case Items():
            return [plain(item) for item in node.nodes]
        case Table():
            return {key: plain(entry.node) for key, entry in node.entries.items()}


def masked(node: Node) -> Any:
    """The tree as ordinary values for showing: text that was filled in is as the file wrote it."""
    match node:
        case Leaf(value=Interpolated() as text):
            return text.written
        case Leaf():
            return node.value
        case Items():
            return [masked(item) for item in node.nodes]
        case Table():
            return {key: masked(entry.node) for key, entry in node.entries.items()}


def leaves(node: Node, path: str = "", *, keys: bool = False) -> Iterator[tuple[str, Leaf]]:
    """Every scalar with the path of its key; with `keys`, every key of a mapping as well."""
    match node:
        case Leaf():
            yield path, node
        case Items():
            for index, item in enumerate(node.nodes):
                yield from leaves(item, f"{path}[{index}]", keys=keys)
        case Table():
            for key, entry in node.entries.items():
                if keys:
                    yield join(path, key), Leaf(entry.place, key)
                yield from leaves(entry.node, join(path, key), keys=keys)


def filled_in(node: Node) -> Iterator[Hidden]:
    """What variables brought, anywhere below a node."""
    return (leaf.value.hidden for _, leaf in leaves(node) if isinstance(leaf.value, Interpolated))


def join(path: str, key: str) -> str:
    """The path of a key inside the mapping at `path`."""
    return f"{path}.{key}" if path else key


def locate(node: Node, loc: Sequence[int | str]) -> tuple[Node, Place, str]:
    """Follow a pydantic location as far as the file goes: the node, its key's place, its path.

    Parts that the file does not have (a union's tag, the index into a list of one that was written
    as a scalar) are passed over.
    """
    place, path = node.place, ""
    for part in loc:
        match node:
            case Table(entries=entries) if isinstance(part, str) and part in entries:
                node, place, path = entries[part].node, entries[part].place, join(path, part)
            case Items(nodes=nodes) if isinstance(part, int) and part < len(nodes):
                node, place, path = nodes[part], nodes[part].place, f"{path}[{part}]"
            case _:
                continue
    return node, place, path


def merge(own: Table, default: Table) -> Table:
    """The default under the own: mappings are merged key by key, all else is the own if it is there.

    Keys are compared without case, since header names are.
    """
    entries = dict(own.entries)
    names = {key.lower(): key for key in entries}
    for key, entry in default.entries.items():
        mine = names.get(key.lower())
        if mine is None:
            entries[key] = entry
        elif isinstance(theirs := entry.node, Table) and isinstance(ours := entries[mine].node, Table):
            entries[mine] = Entry(entries[mine].place, merge(ours, theirs))
    return Table(own.place, entries)
