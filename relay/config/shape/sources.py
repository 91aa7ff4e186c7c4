"""The shape of a source: its path, how it verifies, and what its senders are answered."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from relay.config.model import PathPattern
from relay.config.shape.addresses import IpNetwork, MediaType
from relay.config.shape.base import Expression, Model, Positive, Shorthand, Template, default, distinct
from relay.config.shape.scalars import (
    Int,
    Literally,
    Method,
    OneOrMany,
    Rate,
    Size,
    Wrong,
    reads,
    shown,
    unless_unset,
)
from relay.config.shape.verify import Verify

_MOST_IN_RECEIPT = 256 * 2**20
_NO_CONTENT = 204


def _path(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"expected a path such as /plants/{{site}}/events, found {shown(value)}")
    return PathPattern(value).template


def _body_size(size: int) -> int:
    if not 1 <= size <= _MOST_IN_RECEIPT:
        raise Wrong("expected a size from 1B to 256MiB, which is all that may be in receipt at once")
    return size


def _some(when: tuple[str, ...]) -> tuple[str, ...]:
    if not when:
        raise Wrong("expected at least one expression, or every request would be answered and none stored")
    return when


BodySize = Annotated[Size, AfterValidator(_body_size)]
Path = Annotated[str, reads(_path, "/unset"), WithJsonSchema({"type": "string", "pattern": "^/"})]


class DedupRule(Model):
    """How a second posting of one event is known."""

    key: Expression | None = None
    """CEL over the event; without it, the provider's own delivery id."""
    window: Positive
    """For how long a key is remembered."""


Dedup = Annotated[DedupRule, Shorthand("window")]


class Respond(Model):
    """What the sender is answered in place of 202 with the event's id."""

    status: Annotated[Int, unless_unset(202), Field(ge=200, le=299)] = 202
    """A status that says the event was taken."""
    content_type: MediaType = default("text/plain; charset=utf-8")
    """The content type of the body."""
    body: Literally = ""
    """The body, sent as it is."""

    @model_validator(mode="after")
    def _no_content(self) -> Self:
        if self.status == _NO_CONTENT and self.body:
            raise Wrong("an answer with status 204 has no body", at="body")
        return self


class HandshakeAnswer(Model):
    """What a handshake is answered."""

    status: Annotated[Int, unless_unset(200), Field(ge=200, le=299)] = 200
    """A status that says yes."""
    content_type: MediaType = default("text/plain; charset=utf-8")
    """The content type of the body."""
    body: Template = ""
    """The body, with {{ CEL }} holes such as {{ query.challenge }}."""

    @model_validator(mode="after")
    def _no_content(self) -> Self:
        if self.status == _NO_CONTENT and self.body:
            raise Wrong("an answer with status 204 has no body", at="body")
        return self


class Handshake(Model):
    """A question of the sender's that is answered before the signature, and not stored."""

    when: Annotated[tuple[Expression, ...], OneOrMany(), AfterValidator(_some)]
    """CEL that must hold for the request, one or a list of which all must hold."""
    respond: HandshakeAnswer
    """What it is answered."""


class SourceDefaults(Model):
    """What every source has unless it says otherwise."""

    methods: Annotated[tuple[Method, ...], OneOrMany(), AfterValidator(distinct)] = default(["POST"])
    """The HTTP methods taken; handshakes by GET are answered regardless."""
    max_body: BodySize | None = None
    """The largest body taken; the scheme has a default of its own, mostly 1MiB."""
    parse: BodySize = default("1MiB")
    """Above it, `body` is null in expressions; the event is taken and forwarded all the same."""
    dedup: Dedup | None = None
    """For how long a second posting is known, or {key, window}; off unless written."""
    allow_ips: Annotated[tuple[IpNetwork, ...], OneOrMany()] = ()
    """The networks that may post; none written means any."""
    respond: Respond | None = None
    """What the sender is answered; 202 with the event's id unless written."""
    rate: Rate | None = None
    """Events such as 200/s; above it the sender is answered 429 with Retry-After."""
    silent_after: Positive | None = None
    """When nothing came for so long, operators are alerted."""


class Source(SourceDefaults):
    """Where events come from: POST /hooks/NAME, or /hooks and the path."""

    verify: Verify
    """How a request is known to be from whom it says: a scheme with its secrets, or `none`."""
    path: Path | None = None
    """The path below /hooks; {placeholders} stand for one segment each."""
    handshake: Annotated[tuple[Handshake, ...], OneOrMany()] = ()
    """Questions that are answered beside those that the scheme knows: {when, respond}, or a list."""
