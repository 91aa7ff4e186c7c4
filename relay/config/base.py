"""The common ground of the file's models: strict, frozen, closed, and silent about what they hold."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from relay.config.values import Duration, Wrong


class Model(BaseModel):
    """Strict, frozen, no other keys; it shows nothing of what it holds."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        validate_default=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Nothing: values may have come from `${…}`."""
        return []


def as_written(value: object) -> Any:
    """A default in the spelling of the file, so that the JSON Schema shows it so."""
    return Field(default=value)


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise Wrong("expected a duration longer than zero")
    return seconds


Positive = Annotated[Duration, AfterValidator(_positive)]
