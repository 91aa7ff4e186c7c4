"""Durations, sizes, rates, statuses, names: how they are written, and the pydantic types that read them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import product
from operator import add
from typing import Annotated, Any, TypeVar

from pydantic import (
    BeforeValidator,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.config.yaml.interpolate import STAND_IN
from relay.config.yaml.nodes import Interpolated
from relay.config.yaml.report import nearest, quoted

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = r"[0-9]{1,9}(\.[0-9]{1,6})?/(s|m|h)"
_DURATION = r"[0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d)"
_SIZE = r"[0-9]{1,15}(B|KiB|MiB|GiB|TiB)"
_LONGEST = 10 * 366 * 86400.0

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
"""The methods that carry webhooks, in and out."""

_LOWEST_STATUS, _HIGHEST_STATUS = 100, 599

T = TypeVar("T")


class Wrong(ValueError):
    """A value is not what its key takes; `nearest` is the valid one that looks like it.

    Where a mapping is refused for one of its keys, `at` is the way to that.
    """

    def __init__(
        self, message: str, *, nearest: str | None = None, at: str | tuple[int | str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.nearest = nearest
        self.at = (at,) if isinstance(at, str) else at


def shown(value: object) -> str:
    """A value for a report, as the file wrote it: what came from a variable stays hidden."""
    if isinstance(value, Interpolated):
        return quoted(value.written)
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return "a mapping" if isinstance(value, dict) else "a list"


def duration(value: object) -> float:
    """Seconds from text such as `250ms`, `5s`, `3m`, `6h` or `3d`."""
    expected = "expected a duration such as 250ms, 5s, 3m, 6h or 3d"
    if not isinstance(value, str) or not re.fullmatch(_DURATION, value, re.ASCII):
        hint = f"{value}s" if isinstance(value, int) and not isinstance(value, bool) else None
        raise Wrong(f"{expected}, found {shown(value)}", nearest=hint)
    number = value.rstrip("mshd")
    seconds = float(number) * _SECONDS[value[len(number) :]]
    if seconds > _LONGEST:
        raise Wrong("expected a duration of ten years at most")
    return seconds


def size(value: object) -> int:
    """Bytes from text such as `64KiB` or `1MiB`, or from a plain number."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not re.fullmatch(_SIZE, value, re.ASCII):
        hint = None
        if isinstance(value, str) and not isinstance(value, Interpolated):
            found = re.fullmatch(r"([0-9]+) ?([A-Za-z]+)", value, re.ASCII)
            unit = nearest(found[2], _BYTES) if found else None
            hint = f"{found[1]}{unit}" if found and unit else None
        raise Wrong(f"expected a size such as 64KiB or 1MiB, found {shown(value)}", nearest=hint)
    number = value.rstrip("BKMGTi")
    return int(number) * _BYTES[value[len(number) :]]


def rate(value: object) -> float:
    """So many a second, from text such as `100/s`, `600/m` or `10/h`."""
    expected = "expected a rate such as 100/s, 600/m or 10/h"
    if not isinstance(value, str) or not re.fullmatch(_RATE, value, re.ASCII):
        raise Wrong(f"{expected}, found {shown(value)}", nearest=_meant_rate(value))
    number, _, unit = value.partition("/")
    if not float(number):
        raise Wrong(f"{expected}, above zero")
    return float(number) / _PER[unit]


def _meant_rate(value: object) -> str | None:
    if isinstance(value, Interpolated | bool):
        return None
    found = re.fullmatch(r"([0-9]+)(?: ?(?:/|per) ?([smh])[a-z]*)?", str(value), re.ASCII)
    return f"{found[1]}/{found[2] or 's'}" if found else None


def statuses(value: object) -> frozenset[int]:
    """HTTP statuses from `204`, `"2xx"`, `"200-299"` or a list of these."""
    if isinstance(value, list | tuple):
        return frozenset().union(*map(statuses, value))
    low, high = _status_bounds(value)
    if not _LOWEST_STATUS <= low <= high <= _HIGHEST_STATUS:
        raise Wrong(f"expected statuses from 100 to 599, found {shown(value)}")
    return frozenset(range(low, high + 1))


def _status_bounds(value: object) -> tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, str):
        if re.fullmatch(r"[1-5][xX]{2}", value):
            return int(value[0]) * 100, int(value[0]) * 100 + 99
        found = re.fullmatch(r"([0-9]{3})(?: ?- ?([0-9]{3}))?", value, re.ASCII)
        if found:
            return int(found[1]), int(found[2] or found[1])
    raise Wrong(f"expected a status such as 204, 2xx or 200-299, found {shown(value)}")


def method(value: object) -> str:
    """One of the HTTP methods, in capitals."""
    return one_of(value, METHODS)


def one_of(value: object, words: Collection[str]) -> str:
    """One of the words."""
    if isinstance(value, str) and value in words:
        return str(value)
    raise Wrong(f"expected one of {', '.join(words)}, found {shown(value)}", nearest=like(value, words))


def like(value: object, words: Collection[str]) -> str | None:
    """The word that a value looks like, unless a variable brought it: then nothing is told of it."""
    if not isinstance(value, str) or isinstance(value, Interpolated):
        return None
    return nearest(value, words)


def name(value: object) -> str:
    """A name of a route, as it shows in logs and metrics."""
    if isinstance(value, str) and is_name(value):
        return str(value)
    raise Wrong(f"expected a name of letters, digits and . _ -, found {shown(value)}")


def is_name(text: str) -> bool:
    """Whether a source, destination or route may be called so."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", text, re.ASCII) is not None


def literal(value: object) -> str:
    """Text that is sent as it is, so a hole in it would be sent as it is too."""
    if not isinstance(value, str):
        raise Wrong(f"expected text, found {shown(value)}; put it in quotes")
    if "{{" in value:
        raise Wrong(
            "no {{ holes }} here: they are filled in a URL, a route's transform and a handshake's answer"
        )
    return value


def _numeric(value: object) -> object:
    """A number that a variable brought is text until here."""
    if isinstance(value, Interpolated):
        if value.unset:
            return 1
        if re.fullmatch(r"-?[0-9]{1,15}", value, re.ASCII):
            return int(value)
        if re.fullmatch(r"-?[0-9]{1,15}\.[0-9]{1,15}", value, re.ASCII):
            return float(value)
    return value


def _truth(value: object) -> object:
    """A `true` or `false` that a variable brought is text until here."""
    if not isinstance(value, Interpolated):
        return value
    return {"true": True, "false": False, STAND_IN: False}.get(value, value)


def is_unset(value: object) -> bool:
    """Whether a variable in it has no value, as only `allow_unset` lets pass."""
    return isinstance(value, Interpolated) and value.unset


def unless_unset(stand_in: object) -> BeforeValidator:
    """A pydantic validator that reads a value as it is, and an unset variable as the stand-in."""
    return BeforeValidator(lambda value: stand_in if is_unset(value) else value)


def reads(parse: Callable[[object], T], stand_in: object) -> PlainValidator:
    """A pydantic validator from a parsing function; an unset variable reads as the stand-in."""

    def validate(value: object) -> T:
        return parse(stand_in if is_unset(value) else value)

    return PlainValidator(validate)


_FILLINGS = ("localhost", "1", "::1")
_MOST_FILLED = 4


def reads_url(parse: Callable[[object], T], stand_in: str, *, keep: bool = False) -> PlainValidator:
    """A pydantic validator of a URL that refuses, beside an unset variable, what no value of that would mend.

    Such a URL reads as the stand-in; with `keep`, as what is known of it, wherever its scheme is written out.
    """

    def validate(value: object) -> T:
        if not isinstance(value, Interpolated) or not value.unset:
            return parse(value)
        # Before the scheme, a variable may hold any part of the URL, or all of it.
        if "://" not in value.written.partition("${")[0] or value.count(STAND_IN) > _MOST_FILLED:
            return parse(stand_in)
        known = _known(parse, value)
        return known if keep else parse(stand_in)

    return PlainValidator(validate)


def _known(parse: Callable[[object], T], value: Interpolated) -> T:
    """The URL with a host, a number or an address in place of what is not known, whatever first makes one."""
    first, *others = value.split(STAND_IN)
    refused: list[Wrong] = []
    for fillings in product(_FILLINGS, repeat=len(others)):
        filled = first + "".join(map(add, fillings, others))
        try:
            return parse(Interpolated(filled, written=value.written))
        except Wrong as wrong:
            refused.append(wrong)
    raise refused[0]


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """Marks a tuple that the file may write as a list, or as the one value of a list of one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_tuple, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


def _as_tuple(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _schema(kind: str | list[str], **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, **more})


_STATUS_SCHEMA = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": r"^([1-5][xX]{2}|[1-5][0-9]{2}( ?- ?[1-5][0-9]{2})?|.*\$\{.*)$"},
    ]
}
# In an editor a value may still be a `${VARIABLE}`.
_OR_VARIABLE = r"|^.*\$\{.*$"

Duration = Annotated[float, reads(duration, "1s"), _schema("string", pattern=f"^{_DURATION}$" + _OR_VARIABLE)]
Size = Annotated[
    int, reads(size, "1MiB"), _schema(["string", "integer"], pattern=f"^{_SIZE}$" + _OR_VARIABLE)
]
Rate = Annotated[float, reads(rate, "1/s"), _schema("string", pattern=f"^{_RATE}$" + _OR_VARIABLE)]
Method = Annotated[str, reads(method, "POST"), _schema("string", enum=list(METHODS))]
Name = Annotated[str, reads(name, "unset"), _schema("string", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")]
Literally = Annotated[str, reads(literal, "unset"), _schema("string")]
Statuses = Annotated[
    frozenset[int],
    reads(statuses, []),
    WithJsonSchema({"anyOf": [*_STATUS_SCHEMA["anyOf"], {"type": "array", "items": _STATUS_SCHEMA}]}),
]
Int = Annotated[int, BeforeValidator(_numeric)]
Decimal = Annotated[float, BeforeValidator(_numeric)]
Bool = Annotated[bool, BeforeValidator(_truth)]
