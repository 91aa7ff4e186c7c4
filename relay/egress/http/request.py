"""The request of an attempt, as it is handed to the transport."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import unquote_to_bytes

import httpx

from relay.auth import authentication
from relay.config.model import Http, Timeout
from relay.egress.attempt_input import AttemptInput
from relay.egress.http.url import fill, with_query
from relay.errors import ExpressionError
from relay.model import Headers

# With an empty body these say nothing about it; all others, that its length is zero (RFC 9110 8.6).
_BODILESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is worked out once for a destination.

    http           itself, since plans are kept by its identity
    url            as every request has it; None where it differs, by holes or the sender's query
    authorization  the credentials in the URL, as Basic
    """

    http: Http
    url: httpx.URL | None
    authorization: bytes | None
    auth: httpx.Auth | None
    extensions: dict[str, Any]

    @classmethod
    def of(cls, http: Http, timeout: Timeout) -> Self:
        """Work it out; httpx.InvalidURL where there is no such URL."""
        url, authorization = None, None
        if http.url.literal is not None:
            parsed, authorization = _parse(http.url.literal)
            url = None if http.forward_query else parsed
        return cls(
            http=http,
            url=url,
            authorization=authorization,
            auth=authentication(http),
            extensions={"timeout": {"connect": timeout.connect}, "tls": http.tls},
        )

    def request(self, attempt_input: AttemptInput, headers: Headers) -> httpx.Request:
        """Build the request with nothing in it but what is given, and the length of its body.

        Credentials in the URL become an `Authorization`, unless there is one, as every client does it.
        Raises ExpressionError where a hole of the URL cannot be filled, or what came of it is no URL.
        """
        url, authorization = (
            (self.url, self.authorization) if self.url is not None else self._where(attempt_input)
        )
        method = self.http.method or attempt_input.event.method
        body = attempt_input.body
        raw = list(headers)
        if body or method not in _BODILESS:
            raw.append((b"content-length", b"%d" % len(body)))
        if authorization is not None and all(name != b"authorization" for name, _ in headers):
            raw.append((b"authorization", authorization))
        return httpx.Request(
            method, url, headers=raw, stream=httpx.ByteStream(body), extensions=self.extensions
        )

    def _where(self, attempt_input: AttemptInput) -> tuple[httpx.URL, bytes | None]:
        """The URL of this one event, and the credentials in it."""
        text = self.http.url.literal
        if text is None:
            text = fill(self.http.url, attempt_input.view)
        try:
            return _parse(with_query(text, attempt_input.event.query) if self.http.forward_query else text)
        except httpx.InvalidURL as error:
            # The event's fault, and never that of the destination, whose breaker must not hear of it.
            raise ExpressionError("url: what came of it is no URL, or too long for one") from error


def _parse(url: str) -> tuple[httpx.URL, bytes | None]:
    """Parse a URL, and take its credentials out."""
    parsed = httpx.URL(url)
    if not parsed.userinfo:
        return parsed, None
    user, _, password = parsed.userinfo.partition(b":")
    credentials = base64.b64encode(unquote_to_bytes(user) + b":" + unquote_to_bytes(password))
    return parsed.copy_with(username=None, password=None), b"Basic " + credentials
