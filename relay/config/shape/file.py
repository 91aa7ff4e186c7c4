"""The shape of the whole YAML file as strict pydantic models; the JSON Schema for editors comes from them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, WithJsonSchema, model_validator

from relay.config.model import ABOUT
from relay.config.shape.addresses import IpNetwork
from relay.config.shape.base import Model, Positive, default, distinct
from relay.config.shape.destinations import Destination, DestinationDefaults
from relay.config.shape.routes import Route, RouteDefaults
from relay.config.shape.scalars import OneOrMany, Size, Wrong, one_of, reads
from relay.config.shape.sources import Source, SourceDefaults
from relay.config.shape.urls import Proxy


def _at_least_one(size: int) -> int:
    if size < 2**20:
        raise Wrong("expected a size of at least 1MiB")
    return size


def _about(value: object) -> str:
    return one_of(value, ABOUT)


About = Annotated[str, reads(_about, "dead"), WithJsonSchema({"type": "string", "enum": list(ABOUT)})]


class Defaults(Model):
    """What all sources, destinations or routes share; mappings are merged, lists replaced."""

    source: SourceDefaults | None = None
    """For every source; how it verifies stands in each."""
    destination: DestinationDefaults | None = None
    """For every destination; each kind takes what it has a key for."""
    route: RouteDefaults | None = None
    """For every route."""


class Egress(Model):
    """Which addresses may be dialled, and by which way."""

    deny: Annotated[tuple[IpNetwork, ...], OneOrMany()] = ()
    """Networks that are never dialled, besides 169.254.0.0/16, fe80::/10, fd00:ec2::/32 and fd20:ce::254."""
    allow: Annotated[tuple[IpNetwork, ...], OneOrMany()] = ()
    """Exceptions to `deny`."""
    proxy: Proxy | None = None
    """http://proxy:3128, or `environment` for HTTP_PROXY, HTTPS_PROXY and NO_PROXY."""


class Retention(Model):
    """How long what is finished stays in the journal."""

    delivered: Positive = default("7d")
    """Events whose deliveries all arrived."""
    filtered: Positive = default("7d")
    """Events that no route took."""
    dead: Positive = default("30d")
    """Events with a dead delivery."""
    max_size: Annotated[Size, AfterValidator(_at_least_one)] | None = default("20GiB")
    """The most bytes for the journal; null is no limit."""


class Alert(Model):
    """Who is told when something needs a person."""

    about: Annotated[tuple[About, ...], OneOrMany(), AfterValidator(distinct)] = default(list(ABOUT))
    """What is told; everything unless written."""
    to: Annotated[tuple[str, ...], OneOrMany(), AfterValidator(distinct)]
    """The names of one or more destinations."""
    lag: Positive = default("10m")
    """A destination lags when its oldest delivery waits longer; a transaction pins a journal after that."""

    @model_validator(mode="after")
    def _lag(self) -> Self:
        if "lag" in self.model_fields_set and not {"lagging", "journal_pinned"} & set(self.about):
            raise Wrong("`lag` goes with `lagging` and `journal_pinned`, and neither is in `about`", at="lag")
        return self


class File(Model):
    """Relay's configuration."""

    sources: dict[str, Source] = default({})
    """Where events come from, by name."""
    destinations: dict[str, Destination] = default({})
    """Where events go, by name."""
    routes: list[Route] = default([])
    """Which event goes where; every route of a source is tried."""
    defaults: Defaults = default({})
    """What all have unless they say otherwise."""
    egress: Egress = default({})
    """Which addresses may be dialled."""
    retention: Retention = default({})
    """How long the journal keeps what is finished."""
    alerts: list[Alert] = default([])
    """Who is told of what."""
