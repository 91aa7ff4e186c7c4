"""Compiles every expression and every hole of the file, so that each mistake is told at its own place."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from relay.config.checks.references import patterns
from relay.config.document import Document
from relay.config.yaml.nodes import Interpolated, Items, Leaf, Node, Table, leaves
from relay.config.yaml.report import Report
from relay.errors import ExpressionError
from relay.expressions import compile_program, compile_template

_PATH_NAME = re.compile(r"\bpath\.([A-Za-z_][A-Za-z0-9_]*)")


def check_expressions(document: Document, report: Report) -> None:
    """Put into the report what does not compile."""
    known = {name: pattern.placeholders for name, pattern in patterns(document.sources).items()}
    for name, entry in document.sources.entries.items():
        if isinstance(entry.node, Table):
            _check_source(entry.node, f"sources.{name}", _Checker(known.get(name), report))
    anywhere = _Checker(None, report)
    for name, entry in document.destinations.entries.items():
        if isinstance(entry.node, Table):
            anywhere.template(entry.node.get("url"), f"destinations.{name}.url")
            _check_order(entry.node, f"destinations.{name}", anywhere)
    for index, node in enumerate(document.routes.nodes):
        if isinstance(node, Table):
            source = node.get("source")
            name = str(source.value) if isinstance(source, Leaf) else ""
            _check_route(node, f"routes[{index}]", _Checker(known.get(name), report))


@dataclass(frozen=True, slots=True)
class _Checker:
    """Compiles what stands at a node; `placeholders` are what `path` has, None where that is not known."""

    placeholders: tuple[str, ...] | None
    report: Report

    def programs(self, node: Node | None, key: str) -> None:
        """One expression, or a list of them."""
        for path, leaf in leaves(node, key) if node is not None else ():
            if isinstance(leaf.value, str) and leaf.value.strip():
                self._compile(compile_program, leaf, path)

    def template(self, node: Node | None, key: str, *, keys: bool = False) -> None:
        """Text with holes, anywhere in a structure."""
        for path, leaf in leaves(node, key, keys=keys) if node is not None else ():
            if isinstance(leaf.value, str):
                self._compile(compile_template, leaf, path)

    def _compile(self, compiler: Callable[..., object], leaf: Leaf, key: str) -> None:
        try:
            compiler(str(leaf.value), placeholders=self._known(leaf))
        except ExpressionError as error:
            self._refuse(leaf, key, error)

    def _known(self, leaf: Leaf) -> Collection[str]:
        """Where the source is not known, whatever the expression takes from the path may be there."""
        return _PATH_NAME.findall(str(leaf.value)) if self.placeholders is None else self.placeholders

    def _refuse(self, leaf: Leaf, key: str, error: ExpressionError) -> None:
        if isinstance(leaf.value, Interpolated):
            if not leaf.value.unset:
                self.report.add(leaf.place, "does not compile once its variables are filled in", key=key)
        elif leaf.place not in self.report.spoiled:
            self.report.add(leaf.at(error.offset), f"does not compile: {error}", key=key)


def _check_source(node: Table, key: str, checker: _Checker) -> None:
    dedup = node.get("dedup")
    if isinstance(dedup, Table):
        checker.programs(dedup.get("key"), f"{key}.dedup.key")
    for path, handshake in _each(node.get("handshake"), f"{key}.handshake"):
        checker.programs(handshake.get("when"), f"{path}.when")
        respond = handshake.get("respond")
        if isinstance(respond, Table):
            checker.template(respond.get("body"), f"{path}.respond.body")


def _each(node: Node | None, key: str) -> Iterator[tuple[str, Table]]:
    """The mappings of a list, or the one that stands for a list of one."""
    if isinstance(node, Table):
        yield key, node
    for index, item in enumerate(node.nodes if isinstance(node, Items) else ()):
        if isinstance(item, Table):
            yield f"{key}[{index}]", item


def _check_order(node: Table, key: str, checker: _Checker) -> None:
    match node.get("order"):
        case Table() as order:
            checker.programs(order.get("key"), f"{key}.order.key")
        case Leaf() as leaf:
            checker.programs(leaf, f"{key}.order")
        case _:
            return  # nothing, or what is no order: that is told where the entry itself is read


def _check_route(node: Table, key: str, checker: _Checker) -> None:
    checker.programs(node.get("when"), f"{key}.when")
    _check_order(node, key, checker)
    transform = node.get("transform")
    if isinstance(transform, Table):
        for part in ("json", "text", "subject", "headers"):
            checker.template(transform.get(part), f"{key}.transform.{part}", keys=part == "json")
