"""CEL and {{ holes }}: what expressions see of an event, and how they are compiled, bounded and run."""

from __future__ import annotations

from relay.expressions.hidden import Hidden, together
from relay.expressions.program import Program, compile_program
from relay.expressions.template import Template, compile_template, to_json
from relay.expressions.view import View

__all__ = [
    "Hidden",
    "Program",
    "Template",
    "View",
    "compile_program",
    "compile_template",
    "to_json",
    "together",
]
