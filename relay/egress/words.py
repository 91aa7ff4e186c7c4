"""What others wrote, as one short line."""

from __future__ import annotations

import re

_LIMIT = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escape(text: str) -> str:
    """Make a text one short line that no terminal obeys."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)[:_LIMIT]
