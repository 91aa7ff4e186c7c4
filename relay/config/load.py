"""From files to the configuration in force, or to one report of everything that is wrong with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from relay.config import assemble, schema
from relay.config.check import check, route_name
from relay.config.document import Document, read_document
from relay.config.explain import explain
from relay.config.model import Configuration
from relay.config.nodes import Interpolated, Items, Leaf, Node, Table, locate, masked, plain
from relay.config.report import Report, describe
from relay.errors import ConfigError
from relay.signatures import Scheme

_MASK = "**********"
_FALLBACK = re.compile(r":-[^}]*\}")
_SECRET_HEADER = re.compile(r"authorization|cookie|key|token|secret|signature", re.IGNORECASE)

M = TypeVar("M", bound=BaseModel)


def load(path: Path, environ: Mapping[str, str], *, allow_unset: bool = False) -> Configuration:
    """The configuration in a file or folder; ConfigError holds the whole report.

    With `allow_unset`, variables and secret files that are not there get a stand-in: the result is
    good for checking, not for serving.
    """
    report = Report()
    document = read_document(path, environ, report, allow_unset=allow_unset)
    parsed = _parse(document, report)
    check(document, report)
    if report.mistakes:
        raise ConfigError(describe(report.mistakes))
    return assemble.configuration(parsed, document, path)


def resolved(path: Path, environ: Mapping[str, str], *, allow_unset: bool = False) -> str:
    """The merged file as YAML, defaults in place, variables by name and secrets masked."""
    load(path, environ, allow_unset=allow_unset)
    document = read_document(path, environ, Report(), allow_unset=allow_unset)
    shown = {
        "sources": masked(document.sources),
        "destinations": masked(document.destinations),
        "routes": [_named(node) for node in document.routes.nodes],
        "retention": masked(document.retention),
    }
    for name, source in document.sources.entries.items():
        _mask_secrets(source.node, shown["sources"][name])
    for name, destination in document.destinations.entries.items():
        _mask_headers(destination.node, shown["destinations"][name])
    filled = {key: value for key, value in shown.items() if value}
    return yaml.safe_dump(filled, sort_keys=False, allow_unicode=True, width=100)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    made = schema.File.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Relay configuration",
        **{key: value for key, value in made.items() if key != "title"},
    }


def schema_text() -> str:
    """The JSON Schema as it is written to a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def starter() -> str:
    """The commented file that `relay init` writes."""
    return resources.files("relay.config").joinpath("starter.yaml").read_text(encoding="utf-8")


def _parse(document: Document, report: Report) -> assemble.Parsed:
    root = document.root()
    _read(schema.Defaults, root, ("defaults",), report, partial=True)
    sources = {
        name: _read(schema.Source, root, ("sources", name), report) for name in document.sources.entries
    }
    destinations = {
        name: _read(schema.Destination, root, ("destinations", name), report)
        for name in document.destinations.entries
    }
    routes = [
        _read(schema.Route, root, ("routes", index), report) for index in range(len(document.routes.nodes))
    ]
    for name, source in sources.items():
        if source:
            _check_id(name, source, root, report)
    retention = _read(schema.Retention, root, ("retention",), report)
    return assemble.Parsed(
        sources=MappingProxyType({name: model for name, model in sources.items() if model}),
        destinations=MappingProxyType({name: model for name, model in destinations.items() if model}),
        routes=tuple(model for model in routes if model),
        retention=retention or schema.Retention(),
    )


def _read(
    model: type[M], root: Table, loc: tuple[int | str, ...], report: Report, *, partial: bool = False
) -> M | None:
    node, _, _ = locate(root, loc)
    try:
        return model.model_validate(plain(node))
    except ValidationError as error:
        explain(error, model=model, root=root, prefix=loc, report=report, partial=partial)
        return None


def _check_id(name: str, source: schema.Source, root: Table, report: Report) -> None:
    """Without a key, dedup needs a scheme that tells the provider's own delivery id."""
    scheme = source.verify.build()
    tells = scheme.id_at or type(scheme).identify is not Scheme.identify
    if source.dedup and source.dedup.key is None and not tells:
        node, _, path = locate(root, ("sources", name, "dedup"))
        message = f"{scheme.name} has no delivery id to go by: write {{key: …, window: …}}"
        report.add(node.place, message, key=path)


def _named(node: Node) -> Any:
    shown = masked(node)
    return {"name": route_name(node, written=True), **shown} if isinstance(node, Table) else shown


def _mask_secrets(node: Node, shown: Any) -> None:
    verify = node.get("verify") if isinstance(node, Table) else None
    secrets = verify.get("secrets") if isinstance(verify, Table) else None
    if secrets is not None:
        shown["verify"]["secrets"] = _hidden(secrets)


def _mask_headers(node: Node, shown: Any) -> None:
    headers = node.get("headers") if isinstance(node, Table) else None
    for name, entry in headers.entries.items() if isinstance(headers, Table) else ():
        if _SECRET_HEADER.search(name):
            shown["headers"][name] = _hidden(entry.node)


def _hidden(node: Node) -> Any:
    """References stay, for they say where a secret comes from; what was written out goes."""
    if isinstance(node, Items):
        return [_hidden(item) for item in node.nodes]
    if (
        isinstance(node, Leaf)
        and isinstance(node.value, Interpolated)
        and node.value.written.startswith("${")
    ):
        return _FALLBACK.sub(f":-{_MASK}}}", node.value.written)
    return _MASK
