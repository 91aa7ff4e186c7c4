"""What may be written beside `scheme` in the YAML file, and how it is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, assert_never

from relay.signatures.scheme import Scheme

_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class OptionType(StrEnum):
    """What a value of an option is."""

    SECRETS = "secrets"
    TEXT = "text"
    TEXTS = "texts"
    HEADER = "header"
    DURATION = "duration"
    CHOICE = "choice"


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One key beside `scheme`. Durations are seconds; `choices` are the words of a CHOICE."""

    name: str
    type: OptionType
    about: str
    required: bool = False
    default: str | float | None = None
    choices: tuple[str, ...] = ()

    def check(self, value: object) -> object:
        """Convert a value to what the scheme wants; ValueError says what was expected, never a secret."""
        match self.type:
            case OptionType.SECRETS:
                return _secrets(self.name, value)
            case OptionType.DURATION:
                return _duration(self.name, value)
            case OptionType.TEXTS:
                return _texts(self.name, value)
            case OptionType.TEXT | OptionType.HEADER | OptionType.CHOICE:
                return self._text(value)
            case _:
                assert_never(self.type)

    def _text(self, value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"{self.name} must be a text")  # noqa: TRY004 - one kind of error for every mistake
        if self.required and not value:
            raise ValueError(f"{self.name} must not be empty")
        if self.choices and value not in self.choices:
            raise ValueError(f"{self.name} must be one of {', '.join(self.choices)}")
        if self.type is not OptionType.HEADER:
            return value
        if not _HEADER_NAME.fullmatch(value):
            raise ValueError(f"{self.name} must be the name of a header")
        return value.lower().encode()


SAMPLE: Final = b"dW5zZXQtdW5zZXQtdW5zZXQtdW5zZXQtdW5zZXQtMTI="
"""A secret that most schemes take: long, and base64 of 32 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindInfo:
    """One kind of scheme: its options, how it is built from them, and a secret that it takes."""

    name: str
    about: str
    options: tuple[Option, ...]
    build: Callable[[Mapping[str, Any]], Scheme] = field(repr=False)
    sample: Callable[[], bytes] = field(default=lambda: SAMPLE, repr=False)

    def check(self, options: Mapping[str, object]) -> dict[str, object]:
        """Complete and check the options; None counts as not written."""
        known = {option.name: option for option in self.options}
        for name in options:
            if name not in known:
                takes = ", ".join(known) or "no options"
                raise ValueError(f"scheme {self.name} does not know {name}; it takes {takes}")
        checked: dict[str, object] = {}
        for option in self.options:
            value = options.get(option.name)
            if value is None and option.required:
                raise ValueError(f"scheme {self.name} needs {option.name}")
            default = option.default
            checked[option.name] = option.check(value) if value is not None else default
        return checked


SECRETS: Final = Option(
    name="secrets",
    type=OptionType.SECRETS,
    required=True,
    about="the secrets, any of which may verify; the first one signs",
)


def tolerance(default: float | None) -> Option:
    """The option by which a signed time may be off; None: its age is checked only where this is written."""
    return Option(
        name="tolerance",
        type=OptionType.DURATION,
        default=default,
        about="how far the signed time may be off, either way",
    )


def _secrets(name: str, value: object) -> list[bytes]:
    if not isinstance(value, list | tuple) or not all(isinstance(secret, bytes) for secret in value):
        raise ValueError(f"{name} must be a list of bytes")
    if not value or not all(value):
        raise ValueError(f"{name} must hold at least one secret, and none that is empty")
    return list(value)


def _texts(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise ValueError(f"{name} must be a list of texts, and none that is empty")
    if not value:
        raise ValueError(f"{name} must hold at least one")
    return tuple(value)


def _duration(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ValueError(f"{name} must be a duration above zero")
    return float(value)
