"""How near this process is to its last file descriptor: the kernel gives the lowest number that is free."""

from __future__ import annotations

import resource
import sys

_SHARE = 8
_MOST = 256
"""An eighth of the descriptors, and at most so many, are kept for the journal and for the way out."""


def crowded_from() -> int:
    """The number of a connection's descriptor from which on it gets 503: the rest is needed elsewhere."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        return sys.maxsize
    return most - min(_MOST, most // _SHARE)
