"""What pydantic found, said as mistakes at their places in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from relay.config.shape.scalars import Wrong, like, shown
from relay.config.shape.verify import VERIFY_MODELS, VerifyModel
from relay.config.yaml.nodes import Node, filled_in, join, locate
from relay.config.yaml.report import Report, nearest
from relay.expressions import together

_EXPECTED = {
    "string_type": "expected text",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dict_type": "expected a mapping",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "finite_number": "expected a finite number",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "greater_than": ("gt", "more than"),
    "less_than": ("lt", "less than"),
}

_MOST_WORDS: Final = 20
_SECRET_KEYS: Final = frozenset(
    {
        "secrets",
        "token",
        "password",
        "value",
        "client_secret",
        "smtp",
        "broker",
        "proxy",
        "verify_token",
        "client_state",
    }
)
_MISSING = {"verify": ': write {scheme: github, secrets: "${…}"}, or `none` to take anything'}


def explain(
    error: ValidationError,
    *,
    model: type[BaseModel],
    root: Node,
    prefix: Sequence[int | str],
    report: Report,
    partial: bool = False,
) -> None:
    """Put every error into the report; with `partial`, keys may be missing."""
    for detail in error.errors(include_url=False):
        if partial and detail["type"] == "missing":
            continue
        _explain_one(detail, model, root, prefix, report)


def _explain_one(
    detail: ErrorDetails, model: type[BaseModel], root: Node, prefix: Sequence[int | str], report: Report
) -> None:
    loc = detail["loc"]
    kind = detail["type"]
    if kind == "missing":
        _, place, path = locate(root, [*prefix, *loc[:-1]])
        hint = _MISSING.get(str(loc[-1]), "")
        report.add(place, f"this key is required, and missing{hint}", key=join(path, str(loc[-1])))
        return
    node, place, path = locate(root, [*prefix, *loc])
    if kind == "extra_forbidden":
        close = nearest(str(loc[-1]), keys(model, loc[:-1]))
        report.add(place, "unknown key", key=path, nearest=close)
        return
    if kind.startswith("union_tag"):
        tag = detail.get("ctx", {}).get("discriminator", "").strip("'")
        node, place, path = locate(root, [*prefix, *loc, tag])
        if kind == "union_tag_not_found":
            words = _one_of(_tags(model, loc, tag))
            report.add(place, f"this key is required, and missing: {words}", key=join(path, tag))
            return
    error = detail.get("ctx", {}).get("error")
    if isinstance(error, Wrong) and error.at:
        node, place, path = locate(root, [*prefix, *loc, *error.at])
    message, close = _message(detail)
    hidden = together(filled_in(locate(root, prefix)[0]))
    shown_close = None if close is None else hidden.text(close)
    at = node.place if node.place.line else place
    report.add(at, hidden.text(message), key=path, nearest=shown_close)


def _message(detail: ErrorDetails) -> tuple[str, str | None]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    error = context.get("error")
    if isinstance(error, Wrong):
        return str(error), error.nearest
    if kind == "union_tag_invalid":
        tag, words = value.get(context["discriminator"].strip("'")), _quoted(context["expected_tags"])
        return f"{_one_of(words)}, found {shown(tag)}", like(tag, words)
    if kind == "literal_error":
        words = _quoted(context["expected"])
        return f"expected {context['expected']}, found {shown(value)}", like(value, words)
    # A number in a secret's place may be the secret itself.
    found = "something else" if _SECRET_KEYS & {str(part) for part in detail["loc"]} else shown(value)
    return _sentence(kind, found, context) or (detail["msg"] if error is None else str(error)), None


def _quoted(words: str) -> list[str]:
    return re.findall(r"'([^']*)'", words)


def _one_of(words: Sequence[str]) -> str:
    if len(words) > _MOST_WORDS:
        return f"expected one of {len(words)}, such as {', '.join(words[:3])} (`relay schema` has them all)"
    return f"expected one of {', '.join(words)}"


def _sentence(kind: str, found: str, context: Mapping[str, Any]) -> str | None:
    if kind in _EXPECTED:
        quote = "; put it in quotes" if kind == "string_type" else ""
        return f"{_EXPECTED[kind]}, found {found}{quote}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"expected {words} {context[name]}, found {found}"
    return None


def keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that the mapping at this pydantic location may have."""
    return [info.alias or name for each in _reached(model, loc) for name, info in each.model_fields.items()]


def _reached(model: type[BaseModel], loc: Sequence[int | str]) -> list[type[BaseModel]]:
    """The models that may stand at a location; a tag in it leaves the one that has it."""
    models = [model]
    for part in loc:
        if VerifyModel in models and part in VERIFY_MODELS:
            models = [VERIFY_MODELS[str(part)]]
            continue
        inner = [
            found
            for each in models
            for name, info in each.model_fields.items()
            if part in {name, info.alias}
            for found in _models(info.annotation)
        ]
        models = inner or [each for each in models if part in _words(each, "type", "scheme")] or models
    return models


def _tags(model: type[BaseModel], loc: Sequence[int | str], tag: str) -> list[str]:
    """The words that tell the models at a location from each other."""
    reached = _reached(model, loc)
    if VerifyModel in reached:
        return list(VERIFY_MODELS)
    return [word for each in reached for word in _words(each, tag)]


def _words(model: type[BaseModel], *tags: str) -> list[str]:
    fields = model.model_fields
    return [word for tag in tags if tag in fields for word in get_args(fields[tag].annotation)]


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
