"""OAuth 2.0 client credentials (RFC 6749, 4.4): one token for all requests, fetched when it is needed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

import httpx

from relay.auth.fixed import AUTHORIZATION, basic
from relay.config.model import OAuth2Auth

_EARLY: Final = 30.0
_UNAUTHORIZED: Final = 401
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_CODE: Final = re.compile(r"[a-z0-9_]{1,40}")


class TokenError(httpx.ConnectError):
    """There is no token to send, so nothing was sent."""


@dataclass(frozen=True, slots=True)
class _Token:
    """`Authorization` with a token, and until when it is used by the injected clock; None: until refused."""

    value: str
    until: float | None


class ClientCredentials(httpx.Auth):
    """Sends a bearer token; a new one is asked for shortly before it ends, and once after a 401.

    The token's endpoint is asked through whoever drives the flow, with the extensions of the request
    that needs it, and by one request at a time: those that wait take what came of it, good or bad.
    """

    def __init__(self, config: OAuth2Auth, *, now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._host = httpx.URL(config.token_url).host
        self._asking = asyncio.Lock()
        self._asked = 0
        self._token: _Token | None = None
        self._failure: str | None = None

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Yield the request with a token in it, before it the request for the token where one is needed."""
        token = self._valid()
        is_old = token is not None
        while True:
            if token is None:
                asked = self._asked
                async with self._asking:
                    if self._asked == asked:
                        try:
                            response = yield self._request(request)
                        except httpx.TransportError as error:
                            self._note(None, str(error))
                            raise TokenError(self._failed()) from error
                        self._note(*self._read(response))
                    token = self._token
                if token is None:
                    raise TokenError(self._failed())
            request.headers[AUTHORIZATION] = token.value
            response = yield request
            if response.status_code != _UNAUTHORIZED:
                return
            if self._token is token:
                self._token = None
            if not is_old:
                return
            token, is_old = self._valid(), False

    def _valid(self) -> _Token | None:
        token = self._token
        if token is not None and token.until is not None and self._now() >= token.until:
            return None
        return token

    def _request(self, request: httpx.Request) -> httpx.Request:
        config = self._config
        form = {"grant_type": "client_credentials"} | (
            {} if config.scope is None else {"scope": config.scope}
        )
        # RFC 6749, 2.3.1: every server takes the client's password as Basic, each part encoded as in a form.
        password = basic(quote_plus(config.client_id), quote_plus(config.client_secret))
        return httpx.Request(
            "POST",
            config.token_url,
            headers={AUTHORIZATION: password, "accept": "application/json", "accept-encoding": "identity"},
            data=form,
            extensions=request.extensions,
        )

    def _note(self, token: _Token | None, failure: str | None) -> None:
        self._asked += 1
        self._token, self._failure = token, failure

    def _failed(self) -> str:
        return f"no token from {self._host}: {self._failure or 'the token was refused'}"

    def _read(self, response: httpx.Response) -> tuple[_Token | None, str | None]:
        """Return the token, or why there is none (never with any of the answer but its error code)."""
        try:
            answer = response.json()
        except (ValueError, RecursionError):  # the latter where somebody nests brackets by the thousand
            answer = None
        if not isinstance(answer, dict):
            answer = {}
        if not response.is_success:
            code = answer.get("error")
            detail = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
            return None, f"HTTP {response.status_code}{detail}"
        token = answer.get("access_token")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return None, "the answer holds no access_token"
        kind = answer.get("token_type", "Bearer")
        if not isinstance(kind, str) or kind.lower() != "bearer":
            return None, "the token is no bearer token"
        return _Token(f"Bearer {token}", self._until(answer.get("expires_in"))), None

    def _until(self, lifetime: Any) -> float | None:
        try:
            seconds = float(lifetime)
        except (TypeError, ValueError, OverflowError):
            return None
        # A token that lives shorter than twice the margin is used for half its life.
        return self._now() + seconds - min(_EARLY, max(seconds, 0.0) / 2)
