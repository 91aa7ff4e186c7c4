"""What pydantic found, said as mistakes at their places in the file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from relay.config.nodes import Interpolated, Node, join, locate
from relay.config.report import Report, nearest
from relay.config.values import Wrong, shown
from relay.config.verify import VERIFY_MODELS, VerifyModel

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
    if kind == "union_tag_not_found":
        report.add(place, "this key is required, and missing", key=join(path, "scheme"))
        return
    if kind == "union_tag_invalid":
        node, place, path = locate(root, [*prefix, *loc, "scheme"])
    message, close = _message(detail)
    report.add(node.place if node.place.line else place, message, key=path, nearest=close)


def _message(detail: ErrorDetails) -> tuple[str, str | None]:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    error = context.get("error")
    if isinstance(error, Wrong):
        return str(error), error.nearest
    if kind == "union_tag_invalid":
        return _choice(value.get("scheme"), list(VERIFY_MODELS))
    # A number in a secret's place may be the secret itself.
    found = "something else" if "secrets" in detail["loc"] else shown(value)
    return _sentence(kind, found, context) or (detail["msg"] if error is None else str(error)), None


def _sentence(kind: str, found: str, context: Mapping[str, Any]) -> str | None:
    if kind in _EXPECTED:
        quote = "; put it in quotes" if kind == "string_type" else ""
        return f"{_EXPECTED[kind]}, found {found}{quote}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"expected {words} {context[name]}, found {found}"
    if kind == "literal_error":
        return f"expected {context['expected']}, found {found}"
    return None


def _choice(value: object, valid: Sequence[str]) -> tuple[str, str | None]:
    close = nearest(value, valid) if isinstance(value, str) and not isinstance(value, Interpolated) else None
    return f"expected one of {', '.join(valid)}, found {shown(value)}", close


def keys(model: type[BaseModel], loc: Sequence[int | str]) -> list[str]:
    """The keys that the mapping at this pydantic location may have."""
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
        models = inner or models
    return [info.alias or name for each in models for name, info in each.model_fields.items()]


def _models(annotation: Any) -> Iterable[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
