"""One request and its answer over a transport, with the credentials that its flow adds."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass

import httpx

READ_LIMIT = 64 * 1024
_KEPT = 4 * 1024


@dataclass(slots=True)
class Answer:
    """What has come back so far; it is filled while the deadline runs, and judged when it ends."""

    status: int | None = None
    headers: httpx.Headers | None = None
    body: bytes = b""
    note: str | None = None


async def exchange(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, auth: httpx.Auth | None, answer: Answer
) -> None:
    """Send the request; note status and headers, then at most `READ_LIMIT` bytes of the body."""
    if auth is None:
        response = await transport.handle_async_request(request)
    else:
        response = await _authorized(transport, request, auth)
    answer.status = response.status_code
    answer.headers = response.headers
    stream = _stream(response)
    size = 0
    try:
        async for chunk in stream:
            size += len(chunk)
            if len(answer.body) < _KEPT:
                answer.body = (answer.body + chunk)[:_KEPT]
            if size > READ_LIMIT:
                answer.note = f"response body: more than {READ_LIMIT // 1024} KiB, the rest was not read"
                break
    finally:
        await stream.aclose()


async def read(response: httpx.Response, limit: int) -> bytes | None:
    """Read a body of at most `limit` bytes; None where it is longer."""
    stream = _stream(response)
    body = b""
    try:
        async for chunk in stream:
            body += chunk
            if len(body) > limit:
                return None
    finally:
        await stream.aclose()
    return body


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport's response cannot be read asynchronously")
    return stream


async def _authorized(
    transport: httpx.AsyncBaseTransport, request: httpx.Request, auth: httpx.Auth
) -> httpx.Response:
    """Drive the flow, and return the last answer to `request` itself, its body unread.

    Whatever else the flow wants sent, such as a request for a token, is answered with its whole body;
    a failure of it is thrown into the flow, which knows what it means.
    """
    async with aclosing(auth.async_auth_flow(request)) as flow:
        sending = await anext(flow)
        while True:
            if sending is request:
                response = await transport.handle_async_request(request)
            else:
                try:
                    response = await _ask(transport, sending)
                except httpx.TransportError as error:
                    sending = await flow.athrow(error)
                    continue
            try:
                sending = await flow.asend(response)
            except StopAsyncIteration:
                return response
            except BaseException:
                await response.aclose()
                raise
            await response.aclose()


async def _ask(transport: httpx.AsyncBaseTransport, request: httpx.Request) -> httpx.Response:
    response = await transport.handle_async_request(request)
    body = await read(response, READ_LIMIT)
    if body is None:
        raise httpx.RemoteProtocolError("the answer is too long")
    return httpx.Response(response.status_code, content=body)
