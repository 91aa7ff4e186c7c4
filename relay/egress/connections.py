"""aiohttp's connections, with a bound on what a server may say before its answer."""

from __future__ import annotations

import functools
from typing import Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import HttpProcessingError, RawResponseMessage

MOST_INTERIM: Final = 32
"""Interim answers (RFC 9110 15.2) before the answer: aiohttp would take them without end, a stall of the
loop and some hundred megabytes in seconds."""

_INTERIM = range(100, 200)
_SWITCHING_PROTOCOLS = 101


class Connector(aiohttp.TCPConnector):
    """Makes connections of the kind below."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        made: type[ResponseHandler] = _Connection
        self._factory = functools.partial(made, loop=self._loop)


class _Connection(ResponseHandler):
    """Passes answers on; interim ones, which nobody waits for, are counted and dropped."""

    _interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, Any], size: int = 0) -> None:
        """Take an answer from the parser."""
        code = data[0].code
        if code not in _INTERIM or code == _SWITCHING_PROTOCOLS:
            self._interim = 0
            super().feed_data(data, size)
            return
        self._interim += 1
        if self._interim > MOST_INTERIM and self.transport is not None:
            self.set_exception(HttpProcessingError(code=code, message="too many interim answers"))
            self.transport.abort()
