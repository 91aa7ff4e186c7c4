"""The merged file for showing: what came from variables by name, and secrets masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from relay.config.check import route_name
from relay.config.document import Document
from relay.config.nodes import Entry, Interpolated, Items, Leaf, Node, Table, masked

MASK: Final = "**********"
_FALLBACK = re.compile(r":-[^}]+\}")
_NO_FALLBACK: Final = f":-{MASK}}}"
_REFERENCES = re.compile(r"(\$\{[^}]*\})+")
_SECRET_HEADER = re.compile(r"authorization|cookie|key|token|secret|signature", re.IGNORECASE)

# By the mapping that they stand in.
_SECRETS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        "verify": frozenset({"secrets", "verify_token", "client_state"}),
        "auth": frozenset({"token", "password", "value", "client_secret"}),
        "sign": frozenset({"secrets"}),
    }
)
_PASSWORD = re.compile(r"(://[^:/@\s]*:)(.*)@")
_URLS: Final = frozenset({"smtp", "broker", "proxy"})


def shown(document: Document) -> dict[str, Any]:
    """The sections as ordinary values, those left out that are empty."""
    sections = {
        "sources": _masked(document.sources),
        "destinations": _masked(document.destinations),
        "routes": [_with_name(node) for node in document.routes.nodes],
        "egress": _masked(document.egress),
        "retention": _masked(document.retention),
        "alerts": _masked(document.alerts),
    }
    return {name: section for name, section in sections.items() if section}


def _with_name(node: Node) -> Any:
    found = _masked(node)
    return {"name": route_name(node, written=True), **found} if isinstance(node, Table) else found


def _masked(node: Node, within: str = "") -> Any:
    match node:
        case Table():
            return {key: _value(within, key, entry) for key, entry in node.entries.items()}
        case Items():
            return [_masked(item, within) for item in node.nodes]
        case Leaf():
            return masked(node)


def _value(within: str, key: str, entry: Entry) -> Any:
    secret = key in _SECRETS.get(within, ()) or (within == "headers" and _SECRET_HEADER.search(key))
    if secret:
        return _hidden(entry.node)
    if within == "headers" and isinstance(entry.node, Leaf) and isinstance(entry.node.value, Interpolated):
        return _FALLBACK.sub(_NO_FALLBACK, entry.node.value.written)
    found = _masked(entry.node, key)
    if key in _URLS and isinstance(found, str):
        return _PASSWORD.sub(lambda part: f"{part[1]}{_told(part[2])}@", found)
    return found


def _hidden(node: Node) -> Any:
    if isinstance(node, Items):
        return [_hidden(item) for item in node.nodes]
    if isinstance(node, Leaf) and isinstance(node.value, Interpolated):
        return _told(node.value.written)
    return MASK


def _told(written: str) -> str:
    """References stay, for they say where a secret comes from; what was written out goes."""
    return _FALLBACK.sub(_NO_FALLBACK, written) if _REFERENCES.fullmatch(written) else MASK
