"""What is valid and most likely not meant: a file with it is taken, and the one who wrote it is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from relay.config.document import Document
from relay.config.yaml.nodes import Entry, Interpolated, Items, Leaf, Node, Table, leaves
from relay.config.yaml.report import Report

# `$NAME`, `$(NAME)`, also where a password stands in a URL: other programs would fill it in.
# In capitals, as variables are written: `$pageview` may be a name of somebody's own.
_BARE: Final = re.compile(r"\$(?:[A-Z_][A-Z0-9_]*|\([A-Z_][A-Z0-9_]*\))", re.ASCII)
_BARE_PASSWORD: Final = re.compile(rf"[A-Za-z+]+://[^/@\s]*:{_BARE.pattern}@[^@]*", re.ASCII)
_TWICE: Final = re.compile(r"(bearer|basic) ", re.IGNORECASE)


def check_warnings(document: Document, report: Report) -> None:
    """Put into the report what is worth a look; no message shows a value, which may be a secret."""
    routed = _named(document.routes, "source")
    if routed is not None:
        text = "no route has this source: its events are stored as filtered (`no_route`), and go nowhere"
        _warn_of_others(document.sources.entries, routed, "sources", text, report)
    by_routes, by_alerts = _named(document.routes, "to"), _named(document.alerts, "to")
    if by_routes is not None and by_alerts is not None:
        text = "no route and no alert leads here"
        _warn_of_others(document.destinations.entries, by_routes | by_alerts, "destinations", text, report)
    for path, leaf in leaves(document.root()):
        _check_bare(path, leaf, report)
    for name, entry in document.destinations.entries.items():
        _check_token(_within(entry.node, "auth"), ("token",), f"destinations.{name}.auth", report)
    for name, entry in document.sources.entries.items():
        _check_token(_within(entry.node, "verify"), ("secrets",), f"sources.{name}.verify", report)


def _named(items: Items, key: str) -> set[str] | None:
    """The names that stand under a key of a list's entries; None where one of them is not known."""
    found = [leaf.value for node in items.nodes for _, leaf in leaves(_within(node, key))]
    if any(isinstance(name, Interpolated) and name.unset for name in found):
        return None
    return {str(name) for name in found}


def _within(node: Node, key: str) -> Node:
    found = node.get(key) if isinstance(node, Table) else None
    return Items(node.place) if found is None else found


def _warn_of_others(
    entries: Mapping[str, Entry], named: set[str], section: str, text: str, report: Report
) -> None:
    for name in entries.keys() - named:
        report.warn(entries[name].place, text, key=f"{section}.{name}")


def _check_bare(path: str, leaf: Leaf, report: Report) -> None:
    value = leaf.value
    if not isinstance(value, str) or isinstance(value, Interpolated):
        return
    if _BARE.fullmatch(value) or _BARE_PASSWORD.fullmatch(value):
        text = "`$NAME` is not replaced by a variable: write ${NAME}"
        report.warn(leaf.place, text, key=path)


def _check_token(node: Node, keys: Iterable[str], path: str, report: Report) -> None:
    """A token goes behind its own `Bearer`, and so would stand behind two."""
    kind = _text(_within(node, "type")) or _text(_within(node, "scheme"))
    for key in keys if kind == "bearer" else ():
        for at, leaf in leaves(_within(node, key), f"{path}.{key}"):
            if isinstance(leaf.value, str) and _TWICE.match(leaf.value):
                text = "Relay adds `Bearer` itself: write only the token"
                report.warn(leaf.place, text, key=at)


def _text(node: Node) -> str | None:
    return node.value if isinstance(node, Leaf) and isinstance(node.value, str) else None
