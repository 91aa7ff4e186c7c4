"""Credentials that are the same on every request."""

from __future__ import annotations

import base64
from collections.abc import Generator
from typing import Final
from urllib.parse import quote

import httpx

from relay.signatures import query_name

AUTHORIZATION: Final = "authorization"


class Authorization(httpx.Auth):
    """One `Authorization`, in place of any other."""

    def __init__(self, value: str) -> None:
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Set the header."""
        request.headers[AUTHORIZATION] = self._value
        yield request


class ApiKeyHeader(httpx.Auth):
    """A key in a header of its own."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Set the header."""
        request.headers[self._name] = self._value
        yield request


class ApiKeyQuery(httpx.Auth):
    """A key in the query, in place of any that the sender's query has by this name."""

    def __init__(self, name: str, value: str) -> None:
        self._name = name
        self._pair = f"{quote(name, safe='')}={quote(value, safe='')}".encode()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Set the pair, and leave the others as they are."""
        path, _, query = request.url.raw_path.partition(b"?")
        others = [pair for pair in query.split(b"&") if pair and query_name(pair) != self._name]
        request.url = request.url.copy_with(raw_path=path + b"?" + b"&".join([*others, self._pair]))
        yield request


def basic(username: str, password: str) -> str:
    """Write the value of a Basic Authorization (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
