"""Whether a destination can be reached: its name resolved and a connection made, and nothing sent."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import yarl

from relay.config.model import Celery, Destination, EgressRules, Email, Http
from relay.egress.dial.connect import UnknownName, dial
from relay.egress.dial.guard import BlockedAddress, Guard
from relay.egress.http.proxy import Proxies
from relay.egress.words import escape, system_words

PATIENCE = 5.0
"""Seconds for a name and a connection."""

_PORTS = {"http": 80, "https": 443, "amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}
_ANYWHERE = EgressRules(deny=(), allow=(), proxy=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What came of it: where it was tried, and why that failed, if it did; None where nothing could be."""

    where: str | None
    error: str | None = None


async def reach(destination: Destination, rules: EgressRules) -> Reached:
    """Connect as an attempt would, through the guard or to the proxy, and hang up at once."""
    try:
        host, port, by, guard = _place(destination, rules)
    except BlockedAddress as error:
        return Reached(where=error.address, error=f"{error}; its `allow` can let it through")
    except httpx.ProxyError as error:
        return Reached(where="the proxy", error=str(error))
    if not host:
        return Reached(where=None)
    return Reached(where=escape(f"{host}:{port}{by}"), error=await _problem(host, port, guard))


async def _problem(host: str, port: int, guard: Guard) -> str | None:
    try:
        connection = await dial(host, port, PATIENCE, guard)
    except BlockedAddress as error:
        return f"{error}; its `allow` can let it through"
    except UnknownName as error:
        return escape(f"the name cannot be resolved: {error}")
    except OSError as error:
        return escape(system_words(error))
    connection.close()
    return None


def _place(destination: Destination, rules: EgressRules) -> tuple[str, int, str, Guard]:
    """Host, port, by what, and the rules that hold there; no host where none is known."""
    guard = Guard(rules)
    match destination.target:
        case Http(url=template):
            return _http(template.beginning, rules, guard)
        case Email(host=host, port=port):
            return host, port, "", guard
        case Celery(broker=broker):
            parts = urlsplit(broker)
            port = parts.port or _PORTS.get(parts.scheme, 0)
            # The broker is the operator's own: Celery dials it past the guard.
            return (parts.hostname or "") if port else "", port, "", Guard(_ANYWHERE)


def _http(beginning: str, rules: EgressRules, guard: Guard) -> tuple[str, int, str, Guard]:
    parts = urlsplit(beginning)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    if not host:
        return "", 0, "", guard
    proxy = Proxies(rules.proxy).pick(yarl.URL.build(scheme=parts.scheme, host=host, port=port))
    if proxy is None:
        return host, port, "", guard
    guard.check_literal(host)
    return proxy.host or "", proxy.port or 80, f" (the proxy for {host})", Guard(_ANYWHERE)
