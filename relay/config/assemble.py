"""Turns checked models into the values that the service uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from relay import retry
from relay.config import schema
from relay.config.document import Document
from relay.config.model import (
    Configuration,
    DedupRule,
    Destination,
    PathPattern,
    Respond,
    Retention,
    Source,
    Success,
    Timeout,
)
from relay.config.nodes import Interpolated
from relay.expressions import Template, compile_program, compile_template
from relay.routing import Route, Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The file's entries as pydantic read them."""

    sources: Mapping[str, schema.Source]
    destinations: Mapping[str, schema.Destination]
    routes: tuple[schema.Route, ...]
    retention: schema.Retention


def configuration(parsed: Parsed, document: Document, path: Path) -> Configuration:
    """The whole of it; nothing here can fail on what was checked."""
    sources = {name: _source(name, model) for name, model in parsed.sources.items()}
    routes: dict[str, tuple[Route, ...]] = dict.fromkeys(sources, ())
    for model in parsed.routes:
        if model.source not in sources:
            continue  # a source whose name is in a variable that may be unset
        routes[model.source] += (_route(model, sources[model.source].path.placeholders),)
    return Configuration(
        sources=MappingProxyType(sources),
        destinations=MappingProxyType(
            {name: _destination(name, model) for name, model in parsed.destinations.items()}
        ),
        routes=MappingProxyType(routes),
        retention=Retention(
            delivered=parsed.retention.delivered,
            filtered=parsed.retention.filtered,
            dead=parsed.retention.dead,
            max_size=parsed.retention.max_size,
        ),
        digest=document.digest,
        path=path,
    )


def _source(name: str, model: schema.Source) -> Source:
    path = PathPattern(model.path or f"/{name}")
    scheme = model.verify.build()
    return Source(
        name=name,
        path=path,
        methods=frozenset(model.methods),
        scheme=scheme,
        max_body=model.max_body or scheme.max_body,
        parse=model.parse,
        dedup=_dedup(model.dedup, path) if model.dedup else None,
        allow_ips=model.allow_ips,
        respond=_respond(model.respond) if model.respond else None,
    )


def _dedup(model: schema.DedupRule, path: PathPattern) -> DedupRule:
    key = compile_program(model.key, placeholders=path.placeholders) if model.key else None
    return DedupRule(key=key, window=model.window)


def _respond(model: schema.Respond) -> Respond:
    return Respond(status=model.status, content_type=model.content_type, body=model.body.encode())


def _destination(name: str, model: schema.Destination) -> Destination:
    return Destination(
        name=name,
        url=model.url,
        method=model.method,
        headers=tuple((key.lower().encode(), value.encode()) for key, value in model.headers.items()),
        timeout=Timeout(connect=model.timeout.connect, total=model.timeout.total),
        success=Success(model.success),
        retry=retry.Policy(
            first_wait=model.retry.first_wait,
            factor=model.retry.factor,
            max_wait=model.retry.max_wait,
            jitter=model.retry.jitter,
            max_age=model.retry.max_age,
            max_attempts=model.retry.max_attempts,
            give_up_on=model.retry.give_up_on,
        ),
        concurrency=model.limits.concurrency,
    )


def _route(model: schema.Route, placeholders: tuple[str, ...]) -> Route:
    return Route(
        name=model.name or f"{model.source}-to-{'-'.join(model.to)}",
        source=model.source,
        when=tuple(compile_program(text, placeholders=placeholders) for text in model.when),
        to=model.to,
        stop=model.stop,
        transform=_transform(model.transform, placeholders) if model.transform else None,
    )


def _transform(model: schema.Transform, placeholders: tuple[str, ...]) -> Transform:
    def template(value: object) -> Template:
        return compile_template(_settled(value), placeholders=placeholders)

    return Transform(
        json=template(model.json_) if "json_" in model.model_fields_set else None,
        text=template(model.text) if model.text is not None else None,
        content_type=model.content_type,
        headers=tuple((name, template(text)) for name, text in model.headers.items()),
    )


def _settled(value: Any) -> Any:
    """The structure with plain text, where text with an unset variable might not even compile."""
    match value:
        case Interpolated():
            return "unset" if value.unset else str(value)
        case list():
            return [_settled(item) for item in value]
        case dict():
            return {key: _settled(item) for key, item in value.items()}
        case _:
            return value
