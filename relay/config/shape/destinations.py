"""The shape of a destination: what it is, and how it wants to be treated."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.config.shape.addresses import ExtraHeaders
from relay.config.shape.base import Model, Positive, Shorthand, default
from relay.config.shape.outbound import Auth, Celery, Email, Sign, Tls
from relay.config.shape.routes import OrderBy
from relay.config.shape.scalars import (
    Decimal,
    Int,
    Method,
    OneOrMany,
    Rate,
    Statuses,
    Wrong,
    shown,
    unless_unset,
)
from relay.config.shape.urls import TemplateUrl
from relay.config.yaml.nodes import Interpolated

_GROWING = ("first_wait", "factor", "max_wait")
_MOST_WAITS = 1000


def _some_waits(waits: tuple[float, ...]) -> tuple[float, ...]:
    if not 1 <= len(waits) <= _MOST_WAITS:
        raise Wrong(f"expected at least one wait, and at most {_MOST_WAITS}")
    return waits


class Timeout(Model):
    """The deadline of an attempt."""

    connect: Positive | None = None
    """For the connection alone."""
    total: Positive = default("30s")
    """For the whole attempt."""

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.connect is not None and self.connect > self.total:
            raise Wrong("`connect` is longer than `total`, the deadline on the whole attempt", at="connect")
        return self


class Retry(Model):
    """When a failed attempt is followed by another."""

    first_wait: Positive = default("5s")
    """Before the second attempt."""
    factor: Annotated[Decimal, Field(ge=1, le=100)] = 2.0
    """Each further wait is so many times longer."""
    max_wait: Positive = default("1h")
    """No wait is longer, whatever a Retry-After asks."""
    schedule: Annotated[tuple[Positive, ...], OneOrMany(), AfterValidator(_some_waits)] | None = None
    """The waits one by one, the last one again and again; in place of `first_wait factor max_wait`."""
    jitter: Annotated[Decimal, Field(ge=0, le=1)] = 0.2
    """The share of a wait that is left to chance."""
    max_age: Positive = default("3d")
    """After it, what could not be delivered is dead."""
    max_attempts: Annotated[Int, Field(ge=1)] | None = None
    """After so many attempts, too; null is no limit."""
    give_up_on: Statuses = default([])
    """Statuses that no other attempt would change."""
    pause_on: Statuses = default([410])
    """Statuses that pause the destination; its events are kept until `relay resume`."""

    @model_validator(mode="after")
    def _waits(self) -> Self:
        if self.schedule is not None:
            for key in _GROWING:
                if key in self.model_fields_set:
                    raise Wrong(f"`schedule` says every wait: `{key}` has no place beside it", at=key)
        elif self.first_wait > self.max_wait:
            raise Wrong("`first_wait` is longer than `max_wait`", at="first_wait")
        return self


class Limits(Model):
    """What a destination can bear."""

    concurrency: Annotated[Int, Field(ge=1, le=10_000)] = 16
    """Attempts in flight at once."""
    rate: Rate | None = None
    """Attempts begun, such as 100/s; no limit unless written."""


class BreakerRule(Model):
    """When a destination that fails is left alone."""

    failures: Annotated[Int, Field(ge=1, le=1_000_000)] = 10
    """So many failures one after another open it: transport errors, 5xx and 429."""
    cooldown: Positive = default("30s")
    """While it is open, one attempt is made in so long."""


def _breaker(value: object) -> object:
    """`none` is said in words, and so is what the mapping would have been."""
    if value == "none":
        return None
    if value is None or isinstance(value, dict):
        return value
    if isinstance(value, Interpolated) and value.unset:
        return None
    raise Wrong(f"expected {{failures, cooldown}}, or `none` for no breaker, found {shown(value)}")


class _OrNone:
    """Has editors know the word `none`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_breaker, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [{"const": "none"}, *handler(schema)["anyOf"]]}


class DestinationDefaults(Model):
    """What every destination has unless it says otherwise; each kind takes what it has a key for."""

    method: Method | None = None
    """The HTTP method; as received unless written."""
    query: Annotated[Literal["forward"] | None, unless_unset(None)] = None
    """`forward` appends the sender's query to the URL."""
    headers: ExtraHeaders = default({})
    """Header fields to add."""
    timeout: Annotated[Timeout, Shorthand("total")] = default("30s")
    """The deadline on a whole attempt, or {connect, total}."""
    success: Statuses = default("2xx")
    """The statuses that mean delivered."""
    retry: Retry = default({})
    """When to try again."""
    limits: Limits = default({})
    """How much at once."""
    breaker: Annotated[BreakerRule | None, _OrNone()] = default({})
    """When to stop trying for a while; `none` for never."""
    order: OrderBy | None = None
    """The key of what goes out in order, or {key, on_dead}; off unless written."""
    max_backlog: Annotated[Int, Field(ge=1)] | None = None
    """Beyond so many pending, new deliveries are dead at once (and may be replayed); others go on."""
    auth: Auth | None = None
    """By what Relay is known to the API: {type: bearer | basic | api-key | oauth2, …}."""
    sign: Sign | None = None
    """How requests are signed: {scheme: standard-webhooks | hmac, secrets, …}."""
    tls: Tls | None = None
    """Certificates of your own: {ca, cert, key}."""


class Destination(DestinationDefaults):
    """Where events go: an HTTP API, a mailbox or a task queue."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": [kind]} for kind in ("url", "email", "celery")]}
    )

    url: TemplateUrl | None = None
    """An http or https URL; {{ CEL }} holes in its path and query are filled in and percent-encoded."""
    email: Email | None = None
    """A mailbox: {to, from, smtp}."""
    celery: Celery | None = None
    """A task of Celery workers: {broker, task, queue}."""

    def statuses(self) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
        """What `success`, `give_up_on` and `pause_on` hold; a default leaves out what another key names."""
        success, retry = self.success, self.retry
        named = [
            (success, "success" in self.model_fields_set),
            (retry.give_up_on, "give_up_on" in retry.model_fields_set),
            (retry.pause_on, "pause_on" in retry.model_fields_set),
        ]
        taken: frozenset[int] = frozenset().union(*(values for values, is_written in named if is_written))
        first, second, third = (values if is_written else values - taken for values, is_written in named)
        return first, second, third


HTTP_ONLY = ("method", "query", "headers", "success", "auth", "sign", "tls")
"""The keys that go with `url` only."""
