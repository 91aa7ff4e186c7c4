"""Asks a source's scheme who sent a request, and has what the scheme needs for that fetched.

Schemes do no I/O: one that needs a certificate or a key set names its address, after it has checked
that address; whatever else it needs stands in its options.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from relay.config import Source
from relay.errors import ExpressionError, FetchFailed, RequestRefused, SignatureError
from relay.expressions import View
from relay.model import Headers, Request
from relay.process.clock import Clock
from relay.signatures import Answer, Scheme, Verified, query_name
from relay.signatures.event_fields import Parsed

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets a document by its https address, bounded in size and time, without following redirects."""

KEPT_FOR: Final = 3600.0
"""Seconds after which a document is fetched anew: how long a withdrawn key goes on verifying."""

REFRESH_AFTER: Final = 60.0
"""Seconds before a key that is not in a key set has it fetched again: a stranger can name any key."""

MAX_DOCUMENTS: Final = 64
MAX_FETCHES: Final = 8
"""Fetches at one time: strangers can name any certificate of a pinned host."""

_RETRY_AFTER: Final = 5
_CREDENTIALS: Final = frozenset({b"authorization", b"cookie", b"proxy-authorization"})


@dataclass(frozen=True, slots=True)
class _Document:
    content: bytes
    fetched_at: float


class Documents:
    """Certificates and key sets by their address; those who ask at one time share one fetch.

    What could not be had is not remembered: the next request tries again.
    """

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, _Document] = {}
        self._fetching: dict[str, asyncio.Task[bytes | None]] = {}

    async def get(self, url: str, *, max_age: float = KEPT_FOR) -> bytes | None:
        """Its content, at most `max_age` seconds old; None where it cannot be had now."""
        kept = self._kept.get(url)
        if kept is not None and self._clock.now() - kept.fetched_at < max_age:
            return kept.content
        task = self._fetching.get(url)
        if task is None:
            if len(self._fetching) >= MAX_FETCHES:
                return None
            task = self._fetching[url] = asyncio.create_task(self._load(url))
        return await asyncio.shield(task)  # whoever asked may leave; the others still wait for it

    def drop(self, url: str) -> None:
        """Forget a document that is not what it should be, such as a page that says sorry."""
        self._kept.pop(url, None)

    async def _load(self, url: str) -> bytes | None:
        try:
            content = await self._fetch(url)
        except FetchFailed:
            return None
        finally:
            del self._fetching[url]
        self._kept.pop(url, None)
        while len(self._kept) >= MAX_DOCUMENTS:
            del self._kept[next(iter(self._kept))]
        self._kept[url] = _Document(content, self._clock.now())
        return content


class Verifier:
    """Verifies requests, and answers handshakes; one instance per process."""

    def __init__(self, fetch: Fetch, clock: Clock) -> None:
        self._fetch = fetch
        self._documents = Documents(fetch, clock)

    async def verify(self, source: Source, request: Request, wall: float) -> Verified:
        """Find who sent this; `wall` is the wall clock, by which signatures are dated.

        Raises RequestRefused: 401 `signature_…`, 503 `certificate_unavailable`.
        """
        scheme = source.scheme
        try:
            urls = scheme.documents(request)
            if not urls:
                return scheme.verify(request, now=wall)
            return await self._verify_with(scheme, request, wall, urls)
        except SignatureError as error:
            checked = request.url if scheme.needs_url and error.reason == "mismatch" else None
            raise RequestRefused(401, f"signature_{error.reason}", url=checked) from error

    def greet(self, source: Source, request: Request, placeholders: Mapping[str, str]) -> Answer | None:
        """Answer a handshake that no signature covers, the scheme's own or the source's; None: it is none.

        Raises RequestRefused (403) for the scheme's handshake by a stranger.
        """
        try:
            answer = source.scheme.greet(request)
        except SignatureError as error:
            raise RequestRefused(403, f"handshake_{error.reason}") from error
        if answer is None and source.handshakes:
            return _own_answer(source, request, placeholders)
        return answer

    async def confirm(self, source: Source, request: Request, parsed: Parsed) -> None:
        """Visit what a verified handshake asks to be visited, before its answer; 503 where that fails."""
        url = source.scheme.confirmation(request, parsed)
        if url is None:
            return
        try:
            await self._fetch(url)
        except FetchFailed as error:
            raise RequestRefused(503, "confirmation_failed", retry_after=_RETRY_AFTER) from error

    async def _verify_with(
        self, scheme: Scheme, request: Request, wall: float, urls: tuple[str, ...]
    ) -> Verified:
        try:
            return scheme.verify_with(request, now=wall, documents=await self._get(urls, KEPT_FOR))
        except SignatureError as error:
            if error.reason == "unreadable":
                for url in urls:
                    self._documents.drop(url)
                raise _unavailable() from error
            if error.reason != "unknown_key":
                raise
        return scheme.verify_with(request, now=wall, documents=await self._get(urls, REFRESH_AFTER))

    async def _get(self, urls: tuple[str, ...], max_age: float) -> Mapping[str, bytes]:
        documents: dict[str, bytes] = {}
        for url in urls:
            content = await self._documents.get(url, max_age=max_age)
            if content is None:
                raise _unavailable()
            documents[url] = content
        return documents


def _unavailable() -> RequestRefused:
    return RequestRefused(503, "certificate_unavailable", retry_after=_RETRY_AFTER)


def _own_answer(source: Source, request: Request, placeholders: Mapping[str, str]) -> Answer | None:
    """Answer by the first of the source's handshakes whose every `when` holds."""
    seen = without_secrets(request, source.scheme)
    view = View(
        source=source.name,
        event_id="",
        received_at=request.received_at,
        method=request.method,
        query=seen.query,
        headers=seen.headers,
        body=request.body,
        placeholders=placeholders,
        parse_limit=source.parse,
    )
    for handshake in source.handshakes:
        try:
            if all(condition.evaluate(view) is True for condition in handshake.when):
                body = handshake.body.text(view).encode("utf-8", "replace")
                return Answer(handshake.status, handshake.content_type, body)
        except ExpressionError:
            continue  # as with a route: an expression that fails is no match
    return None


def without_secrets(request: Request, scheme: Scheme) -> Request:
    """The request as it is stored and as expressions see it: without credentials and plain secrets."""
    headers = _kept_headers(request.headers, scheme.secret_headers)
    query = _kept_query(request.query, scheme.secret_query)
    if headers is request.headers and query is request.query:
        return request
    return replace(request, headers=headers, query=query)


def _kept_headers(headers: Headers, secret: frozenset[bytes]) -> Headers:
    if all(name not in _CREDENTIALS and name not in secret for name, _ in headers):
        return headers
    return tuple(pair for pair in headers if pair[0] not in _CREDENTIALS and pair[0] not in secret)


def _kept_query(query: bytes, secret: frozenset[str]) -> bytes:
    if not secret or not query:
        return query
    return b"&".join(pair for pair in query.split(b"&") if query_name(pair) not in secret)
