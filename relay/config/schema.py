"""The shape of the YAML file as strict pydantic models; the JSON Schema for editors comes from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.config.addresses import ExtraHeaders, IpNetwork, MediaType, TemplateHeaders, Url
from relay.config.base import Model, Positive, as_written
from relay.config.model import PathPattern
from relay.config.values import (
    Decimal,
    Literally,
    Method,
    Name,
    OneOrMany,
    Size,
    Statuses,
    Truth,
    Whole,
    Wrong,
    reads,
    shown,
    unless_unset,
)
from relay.config.verify import Verify

_MOST_IN_RECEIPT = 256 * 2**20
_NO_CONTENT = 204


@dataclass(frozen=True, slots=True)
class _Short:
    """Marks a mapping that may be written as the lone value of this one key of it."""

    key: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._long, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"type": "string"}, handler(schema)]}

    def _long(self, value: object) -> object:
        return value if isinstance(value, dict) else {self.key: value}


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"expected a path such as /plants/{{site}}/events, found {shown(value)}")
    return PathPattern(value).template


def _body_size(size: int) -> int:
    if not 1 <= size <= _MOST_IN_RECEIPT:
        raise Wrong("expected a size from 1B to 256MiB, which is all that may be in receipt at once")
    return size


def _at_least_one(size: int) -> int:
    if size < 2**20:
        raise Wrong("expected a size of at least 1MiB")
    return size


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if not values:
        raise Wrong("expected at least one entry")
    if len(set(values)) != len(values):
        raise Wrong("the same entry is there twice")
    return values


def _program_text(text: str) -> str:
    if not text.strip():
        raise Wrong("expected a CEL expression, found nothing")
    return text


BodySize = Annotated[Size, AfterValidator(_body_size)]
Expression = Annotated[str, unless_unset("true"), AfterValidator(_program_text)]
Path = Annotated[str, reads(_path, "/unset"), WithJsonSchema({"type": "string", "pattern": "^/"})]


class DedupRule(Model):
    """How a second posting of one event is known."""

    key: Expression | None = None
    """CEL over the event; without it, the provider's own delivery id."""
    window: Positive
    """For how long a key is remembered."""


Dedup = Annotated[DedupRule, _Short("window")]


class Respond(Model):
    """What the sender is answered in place of 202 with the event's id."""

    status: Annotated[Whole, Field(ge=200, le=299)] = 202
    """A status that says the event was taken."""
    content_type: MediaType = as_written("text/plain; charset=utf-8")
    """The content type of the body."""
    body: Literally = ""
    """The body, sent as it is."""

    @model_validator(mode="after")
    def _no_content(self) -> Self:
        if self.status == _NO_CONTENT and self.body:
            raise Wrong("an answer with status 204 has no body")
        return self


class SourceDefaults(Model):
    """What every source has unless it says otherwise."""

    methods: Annotated[tuple[Method, ...], OneOrMany(), AfterValidator(_distinct)] = as_written(["POST"])
    """The HTTP methods taken."""
    max_body: BodySize | None = None
    """The largest body taken; the scheme has a default of its own, mostly 1MiB."""
    parse: BodySize = as_written("1MiB")
    """Above it, `body` is null in expressions; the event is taken and forwarded all the same."""
    dedup: Dedup | None = None
    """For how long a second posting is known, or {key, window}; off unless written."""
    allow_ips: Annotated[tuple[IpNetwork, ...], OneOrMany()] = ()
    """The networks that may post; none written means any."""
    respond: Respond | None = None
    """What the sender is answered; 202 with the event's id unless written."""


class Source(SourceDefaults):
    """Where events come from: POST /hooks/NAME, or /hooks and the path."""

    verify: Verify
    """How a request is known to be from whom it says: a scheme with its secrets, or `none`."""
    path: Path | None = None
    """The path below /hooks; {placeholders} stand for one segment each."""


class Timeout(Model):
    """The deadline of an attempt."""

    connect: Positive | None = None
    """For the connection alone."""
    total: Positive = as_written("30s")
    """For the whole attempt."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.connect is not None and self.connect > self.total:
            raise Wrong("`connect` is longer than `total`, the deadline on the whole attempt")
        return self


class Retry(Model):
    """When a failed attempt is followed by another."""

    first_wait: Positive = as_written("5s")
    """Before the second attempt."""
    factor: Annotated[Decimal, Field(ge=1, le=100)] = 2.0
    """Each further wait is so many times longer."""
    max_wait: Positive = as_written("1h")
    """No wait is longer, whatever a Retry-After asks."""
    jitter: Annotated[Decimal, Field(ge=0, le=1)] = 0.2
    """The share of a wait that is left to chance."""
    max_age: Positive = as_written("3d")
    """After it, what could not be delivered is dead."""
    max_attempts: Annotated[Whole, Field(ge=1)] | None = None
    """After so many attempts, too; null is no limit."""
    give_up_on: Statuses = as_written([])
    """Statuses that no other attempt would change."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.first_wait > self.max_wait:
            raise Wrong("`first_wait` is longer than `max_wait`")
        return self


class Limits(Model):
    """What a destination can bear."""

    concurrency: Annotated[Whole, Field(ge=1, le=10_000)] = 16
    """Attempts in flight at once."""


class DestinationDefaults(Model):
    """What every destination has unless it says otherwise."""

    method: Method | None = None
    """The HTTP method; as received unless written."""
    headers: ExtraHeaders = as_written({})
    """Header fields to add."""
    timeout: Annotated[Timeout, _Short("total")] = as_written("30s")
    """The deadline on a whole attempt, or {connect, total}."""
    success: Statuses = as_written("2xx")
    """The statuses that mean delivered."""
    retry: Retry = as_written({})
    """When to try again."""
    limits: Limits = as_written({})
    """How much at once."""


class Destination(DestinationDefaults):
    """Where events go."""

    url: Url
    """An http or https URL."""


class Transform(Model):
    """What is sent in place of the body as it came."""

    json_: Annotated[Any, Field(alias="json", title="Json")] = None
    """Any structure; text in it may have {{ CEL }} holes, and a lone hole keeps its type."""
    text: Annotated[str | None, unless_unset("unset")] = None
    """Text with {{ CEL }} holes."""
    content_type: MediaType | None = None
    """The content type of `text`."""
    headers: TemplateHeaders = as_written({})
    """Header fields with {{ CEL }} holes."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        written = self.model_fields_set
        if "json_" in written and self.text is not None:
            raise Wrong("`json` and `text` exclude each other")
        if "json_" not in written and self.text is None and not self.headers:
            raise Wrong("expected `json`, `text` or `headers`")
        if self.content_type is not None and self.text is None:
            raise Wrong("`content_type` goes with `text`; `json` is always application/json")
        return self


class RouteDefaults(Model):
    """What every route has unless it says otherwise."""

    when: Annotated[tuple[Expression, ...], OneOrMany()] = ()
    """CEL that must hold for the event, one or a list of which all must hold; none takes every event."""
    stop: Truth = False
    """Whether an event that matches is shown to no later route."""


class Route(RouteDefaults):
    """Which events of a source go to which destinations."""

    name: Name | None = None
    """Unique; SOURCE-to-DESTINATION unless written."""
    source: str
    """The name of a source."""
    to: Annotated[tuple[str, ...], OneOrMany(), AfterValidator(_distinct)]
    """The names of one or more destinations."""
    transform: Transform | None = None
    """What to send in place of what came."""


class Defaults(Model):
    """What all sources, destinations or routes share; mappings are merged, lists replaced."""

    source: SourceDefaults | None = None
    """For every source; how it verifies stands in each."""
    destination: DestinationDefaults | None = None
    """For every destination."""
    route: RouteDefaults | None = None
    """For every route."""


class Retention(Model):
    """How long what is finished stays in the journal."""

    delivered: Positive = as_written("7d")
    """Events whose deliveries all arrived."""
    filtered: Positive = as_written("7d")
    """Events that no route took."""
    dead: Positive = as_written("30d")
    """Events with a dead delivery."""
    max_size: Annotated[Size, AfterValidator(_at_least_one)] | None = as_written("20GiB")
    """The most bytes for the journal; null is no limit."""


class File(Model):
    """Relay's configuration."""

    sources: dict[str, Source] = as_written({})
    """Where events come from, by name."""
    destinations: dict[str, Destination] = as_written({})
    """Where events go, by name."""
    routes: list[Route] = as_written([])
    """Which event goes where; every route of a source is tried."""
    defaults: Defaults = as_written({})
    """What all have unless they say otherwise."""
    retention: Retention = as_written({})
    """How long the journal keeps what is finished."""
