"""Turns checked models into the values that the service uses."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from relay.config.assemble_destinations import destination, order
from relay.config.compiler import Compiler
from relay.config.model import (
    AlertRule,
    Configuration,
    DedupRule,
    EgressRules,
    Handshake,
    PathPattern,
    Respond,
    Retention,
    Source,
)
from relay.config.shape import destinations, file, routes, sources
from relay.config.yaml.fingerprint import Used
from relay.expressions import Template
from relay.routing import Route, Transform

# Where clouds tell a machine its credentials; no downstream is there.
ALWAYS_DENIED: Final = tuple(
    ipaddress.ip_network(network)
    for network in (
        "169.254.0.0/16",
        "fe80::/10",
        "fd00:ec2::/32",  # what Amazon has at 169.254/16, by IPv6
        "fd20:ce::254/128",  # Google's metadata server
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The file's entries as pydantic read them, and what the certificate files made."""

    sources: Mapping[str, sources.Source]
    destinations: Mapping[str, destinations.Destination]
    routes: tuple[routes.Route, ...]
    egress: file.Egress
    retention: file.Retention
    alerts: tuple[file.Alert, ...]
    tls: Mapping[str, ssl.SSLContext]


def configuration(parsed: Parsed, used: Used, path: Path, *, warnings: tuple[str, ...] = ()) -> Configuration:
    """The whole of it; nothing here can fail on what was checked."""
    compiler = Compiler(used.hidden)
    made = {name: _source(name, model, compiler) for name, model in parsed.sources.items()}
    by_source: dict[str, tuple[Route, ...]] = dict.fromkeys(made, ())
    for model in parsed.routes:
        if model.source not in made:
            continue  # a source whose name is in a variable that may be unset
        by_source[model.source] += (_route(model, made[model.source].path.placeholders, compiler),)
    return Configuration(
        sources=MappingProxyType(made),
        destinations=MappingProxyType(
            {
                name: destination(name, each, parsed.tls.get(name), compiler)
                for name, each in parsed.destinations.items()
            }
        ),
        routes=MappingProxyType(by_source),
        retention=_retention(parsed.retention),
        egress=_egress(parsed.egress),
        alerts=tuple(
            AlertRule(about=frozenset(each.about), to=each.to, lag=each.lag) for each in parsed.alerts
        ),
        digest=used.digest,
        path=path,
        fingerprint=used.fingerprint,
        files=tuple(dict.fromkeys(used.files)),
        warnings=warnings,
    )


def _retention(model: file.Retention) -> Retention:
    return Retention(
        delivered=model.delivered, filtered=model.filtered, dead=model.dead, max_size=model.max_size
    )


def _egress(model: file.Egress) -> EgressRules:
    deny = tuple(dict.fromkeys((*ALWAYS_DENIED, *model.deny)))
    return EgressRules(deny=deny, allow=model.allow, proxy=model.proxy)


def _source(name: str, model: sources.Source, compiler: Compiler) -> Source:
    path = PathPattern(model.path or f"/{name}")
    scheme = model.verify.build()
    return Source(
        name=name,
        path=path,
        methods=frozenset(model.methods),
        scheme=scheme,
        max_body=model.max_body or scheme.max_body,
        parse=model.parse,
        dedup=_dedup(model.dedup, path, compiler) if model.dedup else None,
        allow_ips=model.allow_ips,
        respond=_respond(model.respond) if model.respond else None,
        rate=model.rate,
        silent_after=model.silent_after,
        handshakes=tuple(_handshake(each, path.placeholders, compiler) for each in model.handshake),
    )


def _dedup(model: sources.DedupRule, path: PathPattern, compiler: Compiler) -> DedupRule:
    key = compiler.program(model.key, path.placeholders) if model.key else None
    return DedupRule(key=key, window=model.window)


def _respond(model: sources.Respond) -> Respond:
    return Respond(status=model.status, content_type=model.content_type, body=model.body.encode())


def _handshake(model: sources.Handshake, placeholders: tuple[str, ...], compiler: Compiler) -> Handshake:
    return Handshake(
        when=tuple(compiler.program(text, placeholders) for text in model.when),
        status=model.respond.status,
        content_type=model.respond.content_type,
        body=compiler.template(model.respond.body, placeholders),
    )


def _route(model: routes.Route, placeholders: tuple[str, ...], compiler: Compiler) -> Route:
    return Route(
        name=model.name or f"{model.source}-to-{'-'.join(model.to)}",
        source=model.source,
        when=tuple(compiler.program(text, placeholders) for text in model.when),
        to=model.to,
        stop=model.stop,
        transform=_transform(model.transform, placeholders, compiler) if model.transform else None,
        order=order(model.order, placeholders, compiler),
    )


def _transform(model: routes.Transform, placeholders: tuple[str, ...], compiler: Compiler) -> Transform:
    def template(value: object) -> Template:
        return compiler.template(value, placeholders)

    return Transform(
        json=template(model.json_) if "json_" in model.model_fields_set else None,
        text=template(model.text) if model.text is not None else None,
        content_type=model.content_type,
        headers=tuple((name, template(text)) for name, text in model.headers.items()),
        subject=template(model.subject) if model.subject is not None else None,
    )
