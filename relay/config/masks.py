"""The merged file for showing: what came from variables by name, and secrets masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from relay.config.checks.references import route_name
from relay.config.document import Document
from relay.config.yaml.nodes import Entry, Interpolated, Items, Leaf, Node, Table, masked

MASK: Final = "**********"
_FALLBACK = re.compile(r"(\$\{\w+:-)[^}]+\}")
_NO_FALLBACK: Final = rf"\1{MASK}}}"
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
_SECRETIVE: Final = frozenset({"smtp", "broker", "proxy"})
"""URLs whose user, and every value of whose query, may be a secret."""

_WEB: Final = frozenset({"url", "token_url", "jwks_url"})
"""URLs that have no user, and a query of which most is none."""

_USER = re.compile(r"(?P<before>://)(?:(?P<name>[^:/@?\s]*):)?(?P<secret>.*)@", re.DOTALL)
_PARAMETER = re.compile(r"(?P<name>[?&;][^=&;#\s]*=)(?P<value>[^&;#]+)")
_SECRET_PARAMETER = re.compile(r"pass|pwd|secret|token|key|credential|sig|code|auth|^[?&;]p=", re.IGNORECASE)


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


def is_secret_header(name: str) -> bool:
    """Whether the value of a header that a file writes out may be a secret, by its name."""
    return _SECRET_HEADER.search(name) is not None


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
    secret = key in _SECRETS.get(within, ()) or (within == "headers" and is_secret_header(key))
    if secret:
        return _hidden(entry.node)
    if within == "headers" and isinstance(entry.node, Leaf) and isinstance(entry.node.value, Interpolated):
        return _FALLBACK.sub(_NO_FALLBACK, entry.node.value.written)
    found = _masked(entry.node, key)
    return _url(key, found) if isinstance(found, str) and key in _SECRETIVE | _WEB else found


def _url(key: str, text: str) -> str:
    """A URL as the file has it, without what was written out and may be a secret."""
    text = _FALLBACK.sub(_NO_FALLBACK, text)
    address, at, rest = text.rpartition("@") if key in _SECRETIVE else ("", "", text)
    if "?" in _REFERENCES.sub("", address):
        # A password with a bare ?, or a query with a bare @: where one ends and the other begins is a guess.
        return f"{text.partition('://')[0]}://{MASK}"
    return _USER.sub(_user, address + at) + _PARAMETER.sub(partial(_parameter, key), rest)


def _user(found: re.Match[str]) -> str:
    name = "" if found["name"] is None else f"{found['name']}:"
    return f"{found['before']}{name}{_told(found['secret'])}@"


def _parameter(key: str, found: re.Match[str]) -> str:
    plain = key in _WEB and not _SECRET_PARAMETER.search(found["name"])
    is_hole = found["value"].startswith("{{")
    return found[0] if plain or is_hole else f"{found['name']}{_told(found['value'])}"


def _hidden(node: Node) -> Any:
    if isinstance(node, Items):
        return [_hidden(item) for item in node.nodes]
    if isinstance(node, Leaf) and isinstance(node.value, Interpolated):
        return _told(node.value.written)
    return MASK


def _told(written: str) -> str:
    """References stay, for they say where a secret comes from; what was written out goes."""
    return _FALLBACK.sub(_NO_FALLBACK, written) if _REFERENCES.fullmatch(written) else MASK
