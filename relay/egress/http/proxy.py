"""Through which proxy a request goes, if through any."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache  # noqa: TID251 - its keys are of the configuration
from typing import Final
from urllib.request import (  # type: ignore[attr-defined]  # typeshed lacks the second
    getproxies_environment,
    proxy_bypass_environment,
)

import httpx
import yarl

ENVIRONMENT: Final = "environment"
_SCHEMES: Final = ("http", "https")


class Proxies:
    """The rule of `egress.proxy`: none, one for everything, or what HTTP_PROXY and its like say."""

    __slots__ = ("_by_scheme", "_bypass")

    def __init__(self, rule: str | None) -> None:
        self._bypass: Mapping[str, str] = {}
        if rule is None:
            self._by_scheme: Mapping[str, str] = {}
        elif rule == ENVIRONMENT:
            self._bypass = self._by_scheme = getproxies_environment()
        else:
            self._by_scheme = {"all": rule}

    def pick(self, url: yarl.URL) -> yarl.URL | None:
        """The proxy for this URL, its credentials in it; httpx.ProxyError where it speaks no HTTP."""
        if not self._by_scheme:
            return None
        proxy = self._by_scheme.get(url.scheme) or self._by_scheme.get("all")
        if proxy is None or (self._bypass and self._is_exempt(url)):
            return None
        return _parse(proxy)

    def _is_exempt(self, url: yarl.URL) -> bool:
        host = url.host or ""
        return bool(
            proxy_bypass_environment(host, dict(self._bypass))
            or proxy_bypass_environment(f"{host}:{url.port}", dict(self._bypass))
        )


@lru_cache(maxsize=16)
def _parse(proxy: str) -> yarl.URL:
    # As everybody reads HTTP_PROXY, a bare host:port is HTTP.
    parsed = yarl.URL(proxy if "://" in proxy else f"http://{proxy}")
    if parsed.scheme not in _SCHEMES or not parsed.host:
        raise httpx.ProxyError("the proxy is no http or https URL")
    return parsed
