"""The common ground of the file's models: strict, frozen, closed, and silent about what they hold."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.config.shape.scalars import Duration, Wrong, unless_unset


class Model(BaseModel):
    """Strict, frozen, no other keys; it shows nothing of what it holds."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
    )

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Nothing: values may have come from `${…}`."""
        return []

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        """The schema with what stands below each key in the source as its description.

        `use_attribute_docstrings` would read and parse the source of every model at each start.
        """
        made = handler(schema)
        described = _descriptions(cls)
        for key, value in handler.resolve_ref_schema(made).get("properties", {}).items():
            if key in described:
                value.setdefault("description", described[key])
        return made


def _descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field, by the key that the file has for it."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if not issubclass(each, Model):
            continue
        with suppress(OSError):  # one that `create_model` made has no source
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            found.update(_docstrings(body.body) if isinstance(body, ast.ClassDef) else ())
    fields = model.model_fields
    return {fields[name].alias or name: text for name, text in found.items() if name in fields}


def _docstrings(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Each annotated name of a class's body that a string follows, with that string."""
    for field, below in pairwise(body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, inspect.cleandoc(text)


def default(value: object) -> Any:
    """A default in the spelling of the file, so that the JSON Schema shows it so."""
    return Field(default=value)


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise Wrong("expected a duration longer than zero")
    return seconds


Positive = Annotated[Duration, AfterValidator(_positive)]


@dataclass(frozen=True, slots=True)
class Shorthand:
    """Marks a mapping that may be written as the lone value of this one key of it."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._long, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    def _long(self, value: object) -> object:
        return value if isinstance(value, dict) else {self.key: value}


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """At least one entry, and each of them once."""
    if not values:
        raise Wrong("expected at least one entry")
    if len(set(values)) != len(values):
        raise Wrong("the same entry is there twice")
    return values


def _program_text(text: str) -> str:
    if not text.strip():
        raise Wrong("expected a CEL expression, found nothing")
    return text


def _words(text: str) -> str:
    if not text.strip():
        raise Wrong("expected text, found nothing")
    return text


UNKNOWN: Final = '{}["a variable that is not set here"]'
"""What an expression is while a variable in it has no value: it fails on every event, and says why."""

Expression = Annotated[str, unless_unset(UNKNOWN), AfterValidator(_program_text)]
Text = Annotated[str, unless_unset("unset"), AfterValidator(_words)]
"""Text that is not empty."""
Template = Annotated[str, unless_unset("unset")]
"""Text with {{ CEL }} holes."""
