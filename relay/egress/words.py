"""What others wrote, as one short line; and what the operating system says of a connection."""

from __future__ import annotations

import os
import re

_LIMIT = 200
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def escape(text: str) -> str:
    """Make a text one short line that no terminal obeys."""
    return _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], text)[:_LIMIT]


def system_words(error: OSError) -> str:
    """The system's own words: asyncio puts the address in their place, and leaves the reason out."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
