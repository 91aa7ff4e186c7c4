"""Who may speak to the operator listener: to the right host, from no foreign page, with the token if set."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Collection

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::[0-9]{1,5})?", re.IGNORECASE)


class Gate:
    """In front of an application: what may not pass is answered here, whatever its path and method are.

    403  a Host that is not this machine's, by which a web page could have its own name point here, or
         an Origin of another page, which could have a browser act for its user
    401  no `Authorization: Bearer` with the token, or a wrong one

    name  the address or name that the listener was told to bind
    """

    def __init__(self, app: ASGIApp, *, token: SecretStr | None, name: str) -> None:
        self._app = app
        self._token = None if token is None else token.get_secret_value().encode()
        self._names = {"localhost", name.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            await _refuse(403, "this listener does not answer to that Host")(scope, receive, send)
        elif not _is_same(origins, hosts[0]):
            await _refuse(403, "another page's Origin")(scope, receive, send)
        elif self._token is not None and not _is_bearer(headers.getlist("authorization"), self._token):
            await _refuse(401, "needs Authorization: Bearer, with the token")(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        """Whether a Host names this machine, and cannot be a name that a stranger pointed at it.

        With a token, an address will do, and so will a name without a dot, as a container has: no
        stranger owns one.
        """
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        name = (found[1] or found[2]).lower()
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return self._token is not None and "." not in name
        return self._token is not None or address.is_loopback


def _is_same(origins: Collection[str], host: str) -> bool:
    """Whether each Origin, of which there may be none, is a page of the same host."""
    return all(origin.lower() in {f"http://{host}".lower(), f"https://{host}".lower()} for origin in origins)


def _is_bearer(credentials: Collection[str], token: bytes) -> bool:
    given = [one.partition(" ") for one in credentials]
    if len(given) != 1 or given[0][0].lower() != "bearer":
        return False
    return hmac.compare_digest(given[0][2].strip().encode("latin-1"), token)


def _refuse(status: int, why: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None  # noqa: PLR2004
    return JSONResponse({"error": why}, status, headers=headers)
