"""Where a request goes: the destination's URL with its holes filled, and the sender's query behind it."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, quote_from_bytes

from relay.errors import ExpressionError
from relay.expressions import Template, View

# What may stand in a query as it is (RFC 3986, 3.4), and % of what is encoded already.
_QUERY = "!$&'()*+,;=:@/?%-._~[]"


def fill(url: Template, view: Callable[[], View]) -> str:
    """Fill the holes, every value percent-encoded whole, so that it adds no segment, field or fragment.

    Raises ExpressionError where a segment of the path that has a hole comes out empty, as `.` or as `..`.
    """
    text = ""
    start = 0  # of the segment, in `text`
    has_hole = in_query = False
    for piece, is_hole in url.parts(view()):
        if is_hole:
            text += quote(piece, safe="", errors="replace")
            has_hole = True
            continue
        for char in piece:
            if char in "/?" and not in_query:
                _check(text[start:], has_hole=has_hole)
                start, has_hole, in_query = len(text) + 1, False, char == "?"
            text += char
    if not in_query:
        _check(text[start:], has_hole=has_hole)
    return text


def _check(segment: str, *, has_hole: bool) -> None:
    if has_hole and segment in {"", ".", ".."}:
        said = f"is `{segment}`" if segment else "is empty"
        raise ExpressionError(f"url: a segment of the path {said}, which would lead elsewhere")


def with_query(url: str, query: bytes) -> str:
    """Append a query as it came; what no URL may hold is percent-encoded."""
    if not query:
        return url
    joint = "?" if "?" not in url else "" if url.endswith(("?", "&")) else "&"
    return url + joint + quote_from_bytes(query, safe=_QUERY)
