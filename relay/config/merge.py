"""What of the defaults goes under an entry: all that the entry has a place for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Final

from relay.config.shape.destinations import HTTP_ONLY
from relay.config.yaml.nodes import Entry, Leaf, Node, Table, merge

_WAITS: Final = ("first_wait", "factor", "max_wait", "schedule")
_TAGS: Final[Mapping[str, str]] = MappingProxyType({"auth": "type", "sign": "scheme"})


def under(node: Node, default: Node | None, kind: str) -> Node:
    """An entry with the defaults of its kind (`source`, `destination`, `route`) merged under it."""
    if not isinstance(node, Table) or not isinstance(default, Table):
        return node
    return merge(node, _fitting(node, default) if kind == "destination" else default)


def _fitting(own: Table, default: Table) -> Table:
    """Without what excludes what the destination says itself."""
    entries = dict(default.entries)
    if "url" not in own.entries and own.entries.keys() & {"email", "celery"}:
        entries = _without(entries, HTTP_ONLY)
    if str(_text(own, "url")).startswith("http://"):
        entries = _without(entries, ("tls",))
    for key, tag in _TAGS.items():
        # Another kind has other keys, so nothing of the default's goes with it.
        if _text(own.get(key), tag) not in {None, _text(default.get(key), tag)}:
            entries = _without(entries, (key,))
    retry, mine = entries.get("retry"), own.get("retry")
    if retry is not None and isinstance(retry.node, Table) and isinstance(mine, Table):
        entries["retry"] = Entry(retry.place, _waits(mine, retry.node))
    return Table(default.place, entries)


def _waits(own: Table, default: Table) -> Table:
    """A schedule of its own replaces waits that grow, and the other way round."""
    written = own.entries.keys() & set(_WAITS)
    if not written:
        return default
    excluded = _WAITS[:3] if "schedule" in written else ("schedule",)
    return Table(default.place, _without(default.entries, excluded))


def _without(entries: Mapping[str, Entry], keys: Collection[str]) -> dict[str, Entry]:
    return {key: entry for key, entry in entries.items() if key not in keys}


def _text(node: Node | None, key: str) -> object:
    inner = node.get(key) if isinstance(node, Table) else None
    return inner.value if isinstance(inner, Leaf) else None
