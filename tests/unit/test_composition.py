"""What import-linter cannot say: who may build a journal, which everybody else is handed."""

from __future__ import annotations

import ast
from pathlib import Path

import relay

PACKAGE = Path(relay.__file__).parent
BUILDERS = {"service", "cli", "demo", "journal"}
"""The composition root, the command line and its demonstration, and the journal's own house."""


def _opens_journal(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "open"
        and isinstance(node.value, ast.Name)
        and node.value.id in {"Journal", "Reader"}
    )


def test_only_the_composition_root_and_the_command_line_build_a_journal() -> None:
    """Everybody else takes a journal as an argument, so that a test or another engine can give it one."""
    places = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in BUILDERS
        and any(_opens_journal(node) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert not places


def test_the_scan_finds_what_it_looks_for() -> None:
    """The service does build one: the scan above is not blind."""
    assert any(
        _opens_journal(node) for node in ast.walk(ast.parse((PACKAGE / "service" / "service.py").read_text()))
    )
