"""Makes a value of a body that a stranger posted: JSON or a form, within bounds, and never an exception."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import Any, NoReturn
from urllib.parse import parse_qsl

MAX_DEPTH = 200
MAX_FIELDS = 10_000

# Possessive, and content with the end in place of the closing quote: linear on any input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_SURROGATES = re.compile("[\ud800-\udfff]")
_INT64 = 1 << 63
_LONG = 18


class TooDeepError(ValueError):
    """The JSON is nested deeper than `MAX_DEPTH`."""


def clean(text: str) -> str:
    """Put U+FFFD for lone surrogates, with which every CEL program fails, and UTF-8 too."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def json_value(body: bytes) -> object:
    """Parse JSON; raise TooDeepError, or ValueError when it is none.

    Integers past 64 bits come as text, lone surrogates as U+FFFD; NaN and Infinity are no JSON.
    """
    if _is_deep(body):
        raise TooDeepError
    # Not left to json.loads: it lets encoded surrogates pass, and guesses UTF-16 and UTF-32.
    text = body.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise TooDeepError from error
    except ValueError:  # an integer with more digits than Python converts
        value = json.loads(text, parse_constant=_refuse, parse_int=_integer)
    # A lone surrogate has only one way past the decoder: written as an escape.
    return _clean(value) if b"\\ud" in body or b"\\uD" in body else value


def form_value(body: bytes) -> dict[str, str]:
    """Parse a form or a query into its first values; raise ValueError when it has too many fields."""
    pairs = parse_qsl(
        body.decode("utf-8", "replace"), keep_blank_values=True, errors="replace", max_num_fields=MAX_FIELDS
    )
    return dict(reversed(pairs))


def integer(value: int) -> int | str:
    """Return an integer as CEL can hold it: as text past 64 bits."""
    return value if -_INT64 <= value < _INT64 else str(value)


def _is_deep(body: bytes) -> bool:
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return False
    steps = _STRING.sub(b"", body).translate(_STEPS, _NOT_BRACKETS)
    return max(accumulate(memoryview(steps).cast("b")), default=0) > MAX_DEPTH


def _refuse(_constant: str) -> NoReturn:
    raise json.JSONDecodeError("NaN and Infinity are no JSON", "", 0)


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _LONG else _canonical(digits)


def _canonical(digits: str) -> int | str:
    return integer(int(digits)) if len(digits) <= _LONG + 2 else digits


def _clean(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case list():
            return [_clean(one) for one in value]
        case dict():
            return {clean(key): _clean(one) for key, one in value.items()}
        case _:
            return value
