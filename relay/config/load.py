"""From files to the configuration in force, or to one report of everything that is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from relay.config import assemble
from relay.config.checks.destinations import check_destinations
from relay.config.checks.expressions import check_expressions
from relay.config.checks.pydantic_errors import explain
from relay.config.checks.references import check
from relay.config.checks.tls import contexts
from relay.config.checks.warnings import check_warnings
from relay.config.document import Document, read_document
from relay.config.masks import shown
from relay.config.model import Configuration
from relay.config.shape import destinations, file, routes, sources
from relay.config.shape.scalars import shown as told
from relay.config.yaml.fingerprint import Used
from relay.config.yaml.nodes import Items, Leaf, Table, locate, plain
from relay.config.yaml.report import Report, describe, lines
from relay.errors import ConfigError
from relay.signatures import Scheme

M = TypeVar("M", bound=BaseModel)


def load(path: Path, environ: Mapping[str, str] | None, *, allow_unset: bool = False) -> Configuration:
    """The configuration in a file or folder; ConfigError holds the whole report.

    With `allow_unset`, variables that are not set, and secret files that are not there or may not be
    read, get a stand-in: the result is good for checking, not for serving. An `environ` of None is one
    that nobody here knows, such as that of another process: every variable gets a stand-in.
    """
    report, used = Report(), Used()
    document = read_document(path, environ, report, used, allow_unset=allow_unset)
    parsed = _parse(document, report, used, allow_unset=allow_unset)
    check(document, report)
    check_destinations(document, parsed.destinations, report)
    check_expressions(document, report)
    if report.mistakes:
        raise ConfigError(describe(report.mistakes), unset=tuple(dict.fromkeys(report.unset)))
    check_warnings(document, report)
    return assemble.configuration(parsed, used, path, warnings=lines(report.warnings))


def resolved(path: Path, environ: Mapping[str, str], *, allow_unset: bool = False) -> str:
    """The merged file as YAML, defaults in place, variables by name and secrets masked."""
    load(path, environ, allow_unset=allow_unset)
    document = read_document(path, environ, Report(), Used(), allow_unset=allow_unset)
    return yaml.safe_dump(shown(document), sort_keys=False, allow_unicode=True, width=100)


def json_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    made = file.File.model_json_schema()
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


def _parse(document: Document, report: Report, used: Used, *, allow_unset: bool) -> assemble.Parsed:
    root = document.root()
    _read(file.Defaults, root, ("defaults",), report, partial=True)
    senders = _named(sources.Source, root, "sources", document.sources, report)
    receivers = _named(destinations.Destination, root, "destinations", document.destinations, report)
    for name, source in senders.items():
        _check_id(name, source, root, report)
    egress = _read(file.Egress, root, ("egress",), report)
    if egress:
        _check_allow(egress, root, report)
    return assemble.Parsed(
        sources=MappingProxyType(senders),
        destinations=MappingProxyType(receivers),
        routes=_listed(routes.Route, root, "routes", document.routes, report),
        egress=egress or file.Egress(),
        retention=_read(file.Retention, root, ("retention",), report) or file.Retention(),
        alerts=_listed(file.Alert, root, "alerts", document.alerts, report),
        tls=contexts(receivers, root, report, used, allow_unset=allow_unset),
    )


def _named(model: type[M], root: Table, section: str, table: Table, report: Report) -> dict[str, M]:
    """The entries of a section that are as they should be."""
    read = {name: _read(model, root, (section, name), report) for name in table.entries}
    return {name: entry for name, entry in read.items() if entry}


def _listed(model: type[M], root: Table, section: str, items: Items, report: Report) -> tuple[M, ...]:
    read = [_read(model, root, (section, index), report) for index in range(len(items.nodes))]
    return tuple(entry for entry in read if entry)


def _read(
    model: type[M], root: Table, loc: tuple[int | str, ...], report: Report, *, partial: bool = False
) -> M | None:
    node, _, _ = locate(root, loc)
    try:
        return model.model_validate(plain(node))
    except ValidationError as error:
        explain(error, model=model, root=root, prefix=loc, report=report, partial=partial)
        return None


def _check_id(name: str, source: sources.Source, root: Table, report: Report) -> None:
    """Without a key, dedup needs a scheme that tells the provider's own delivery id."""
    scheme = source.verify.build()
    tells = scheme.id_at or type(scheme).identify is not Scheme.identify
    if source.dedup and source.dedup.key is None and not tells:
        node, _, path = locate(root, ("sources", name, "dedup"))
        message = f"{scheme.name} has no delivery id to go by: write {{key: …, window: …}}"
        report.add(node.place, message, key=path)


def _check_allow(egress: file.Egress, root: Table, report: Report) -> None:
    """An exception to nothing is most likely meant for a list of all that may be dialled."""
    denied = (*assemble.ALWAYS_DENIED, *egress.deny)
    for index, network in enumerate(egress.allow):
        if not any(network.version == other.version and network.overlaps(other) for other in denied):
            node, _, path = locate(root, ("egress", "allow", index))
            found = told(node.value) if isinstance(node, Leaf) else "this network"
            message = f"{found} is not denied: `allow` makes exceptions to `deny`, and does nothing else"
            report.add(node.place, message, key=path)
