"""How Relay says to downstreams who it is: httpx.Auth of every kind, which do no I/O of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import assert_never

import httpx

from relay.auth.fixed import ApiKeyHeader, ApiKeyQuery, Authorization, basic
from relay.auth.oauth2 import ClientCredentials
from relay.auth.sign import Signed
from relay.config.model import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Http, OAuth2Auth

__all__ = ["authentication"]


def authentication(
    http: Http,
    *,
    wall: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> httpx.Auth | None:
    """Make what a destination's `auth` and `sign` ask for; None where they ask for nothing.

    Keep it as long as the destination: it holds the token. `wall` dates signatures, `monotonic` tokens.
    """
    auth = None if http.auth is None else _auth(http.auth, monotonic)
    if not http.sign:
        return auth
    return Signed(http.sign, auth or httpx.Auth(), now=wall)


def _auth(auth: Auth, monotonic: Callable[[], float]) -> httpx.Auth:
    match auth:
        case BearerAuth(token=token):
            return Authorization(f"Bearer {token}")
        case BasicAuth(username=username, password=password):
            return Authorization(basic(username, password))
        case ApiKeyAuth(header=str(header), value=value):
            return ApiKeyHeader(header, value)
        case ApiKeyAuth(query=str(query), value=value):
            return ApiKeyQuery(query, value)
        case ApiKeyAuth():
            raise ValueError("an api-key stands in a header or in the query")
        case OAuth2Auth():
            return ClientCredentials(auth, now=monotonic)
        case _:
            assert_never(auth)
