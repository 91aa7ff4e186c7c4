"""What a delivery sends: method, URL, headers and body, with the configuration's secrets by their names."""

# ruff: noqa: PLC0415 - a command imports what it needs when it runs: all at once takes a second

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relay.model import Delivery, Event, Headers

if TYPE_CHECKING:
    from relay.config import Configuration, Http
    from relay.expressions import View

_PARSE_LIMIT = 1 << 20
"""Bytes of a body that are parsed where its source left the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as a delivery sends it.

    method, url  by today's file; None where the destination is not in it, or is no HTTP API
    headers      with what the destination adds; credentials and signatures that it is sent with are not
                 stored, and not among them
    body         None where it is the event's own
    remark       what is not known, or not yet
    is_rendered  False where a transform has not made it: nothing else is known then
    """

    method: str | None = None
    url: str | None = None
    headers: Headers = ()
    body: bytes | None = None
    remark: str | None = None
    is_rendered: bool = True


@dataclass(frozen=True, slots=True)
class Requests:
    """Tells requests by today's file; `written` is the file as it may be shown, variables by name."""

    configuration: Configuration | None
    written: Mapping[str, Any]

    @classmethod
    def by_file(cls, path: Path) -> Requests:
        """By this file; by none where there is none, or none without mistakes."""
        import yaml

        from relay import config
        from relay.errors import ConfigError

        try:
            configuration = config.load(path, os.environ, allow_unset=True)
            written = yaml.safe_load(config.resolved(path, os.environ, allow_unset=True))
        except ConfigError:
            return cls(None, {})
        return cls(configuration, written)

    def of(self, event: Event, delivery: Delivery) -> Request:
        """What a delivery sends, or will send."""
        from relay.config import Http

        rendered = delivery.rendered
        headers = event.headers if rendered is None else rendered.headers
        body = None if rendered is None else rendered.body
        if delivery.transform and rendered is None:
            return Request(remark=_unrendered(delivery), is_rendered=False)
        if rendered is not None and (remark := self._keeps_back(delivery.route)):
            return Request(remark=remark, is_rendered=False)
        name = delivery.destination
        destination = None if self.configuration is None else self.configuration.destinations.get(name)
        if destination is None:
            remark = "its destination is not in the file: its address and the headers it adds are not known"
            return Request(headers=headers, body=body, remark=remark)
        match destination.target:
            case Http() as http:
                return self._http(event, delivery, http, body)
            case _:
                return Request(headers=headers, body=body, remark="it goes out as an email or a task")

    def _keeps_back(self, route: str) -> str | None:
        """Why what a route's transform made is not shown: it may hold secrets of the environment."""
        named = [str(one.get("transform", "")) for one in self._named(route)]
        if not named:
            return "its route is not in the file: what its transform made may hold secrets, and is not shown"
        if any("${" in one for one in named):
            return "its transform has ${VARIABLES}: their values are in what it made, which is not shown"
        return None

    def _http(self, event: Event, delivery: Delivery, http: Http, body: bytes | None) -> Request:
        from relay.egress import outbound_headers

        written = self.written["destinations"][delivery.destination]
        masked = {name.lower().encode(): str(value) for name, value in written.get("headers", {}).items()}
        source = self.configuration.sources.get(event.source) if self.configuration else None
        headers, _ = outbound_headers(
            event,
            replace(delivery, attempts=max(1, delivery.attempts)),
            extra=tuple((name, masked.get(name.lower(), "").encode()) for name, _ in http.headers),
            rendered=delivery.rendered,
            secret_headers=frozenset() if source is None else source.scheme.secret_headers,
        )
        added = [
            word for word, is_there in (("credentials", http.auth), ("a signature", http.sign)) if is_there
        ]
        return Request(
            method=http.method or event.method,
            url=self._url(event, http, str(written["url"])),
            headers=tuple(self._shown(one, delivery) for one in headers if one[0] != b"traceparent"),
            body=body,
            remark=f"each attempt adds {' and '.join(added)}" if added else None,
        )

    def _shown(self, header: tuple[bytes, bytes], delivery: Delivery) -> tuple[bytes, bytes]:
        """A header, masked where its route's transform writes it and its name is that of a secret."""
        from relay.config import MASK, is_secret_header

        name = header[0].decode("latin-1")
        transforms = [one.get("transform") or {} for one in self._named(delivery.route)]
        written = {str(key).lower() for one in transforms for key in one.get("headers", {})}
        is_hidden = delivery.rendered is not None and name.lower() in written and is_secret_header(name)
        return (header[0], MASK.encode()) if is_hidden else header

    def _named(self, route: str) -> list[dict[str, Any]]:
        """The routes of a name, as the file has them."""
        return [one for one in self.written.get("routes", ()) if one["name"] == route]

    def _url(self, event: Event, http: Http, written: str) -> str:
        """The URL with its holes filled; with the holes, where one cannot be filled."""
        from relay.egress import fill, with_query
        from relay.errors import ExpressionError
        from relay.expressions import compile_template

        try:
            url = fill(compile_template(written), partial(self._view, event))
        except ExpressionError:
            url = written
        return with_query(url, event.query) if http.forward_query else url

    def _view(self, event: Event) -> View:
        from relay.routing import view_of

        source = self.configuration.sources.get(event.source) if self.configuration else None
        if source is None:
            return view_of(event, {}, _PARSE_LIMIT)
        return view_of(event, source.path.match(event.path) or {}, source.parse)


def _unrendered(delivery: Delivery) -> str:
    if delivery.reason == "transform_error":
        return "it could not be rendered (`relay explain` says why)"
    return "its transform renders it at the first attempt"
