"""Relay's own signature on what it sends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

import httpx

from relay.signatures import Scheme
from relay.signatures.scheme import Outgoing

_KEY = "idempotency-key"


class Signed(httpx.Auth):
    """Signs what goes out last, so that the signature covers what is sent.

    The signed id is the delivery's key, the same in every attempt; the timestamp is the attempt's. Each
    secret writes a signature of its own; side by side, any of them verifies while a secret rolls.
    """

    requires_request_body = True

    def __init__(self, schemes: Sequence[Scheme], inner: httpx.Auth, *, now: Callable[[], float]) -> None:
        self._schemes = schemes
        self._inner = inner
        self._now = now

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Let the credentials in first, then sign; what they ask for beside the request is not signed."""
        await request.aread()
        async with aclosing(self._inner.async_auth_flow(request)) as flow:
            sending = await anext(flow)
            while True:
                if sending is request:
                    self._sign(request)
                try:
                    response = yield sending
                except httpx.TransportError as error:
                    sending = await flow.athrow(error)
                    continue
                try:
                    sending = await flow.asend(response)
                except StopAsyncIteration:
                    return

    def _sign(self, request: httpx.Request) -> None:
        outgoing = Outgoing(
            body=request.content,
            now=self._now(),
            event_id=request.headers.get(_KEY, ""),
            url=str(request.url),
            method=request.method,
            event_type=None,
        )
        written: dict[bytes, list[bytes]] = {}
        for scheme in self._schemes:
            for name, value in scheme.write(outgoing):
                values = written.setdefault(name, [])
                if value not in values:
                    values.append(value)
        for name, values in written.items():
            request.headers[name.decode()] = b" ".join(values).decode()
