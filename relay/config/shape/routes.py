"""The shape of a route: which events it takes, where they go, and what is sent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from relay.config.shape.addresses import MediaType, TemplateHeaders
from relay.config.shape.base import Expression, Model, Shorthand, Template, default, distinct
from relay.config.shape.scalars import Bool, Name, OneOrMany, Wrong, unless_unset


class OrderRule(Model):
    """One delivery after another where the key has the same value."""

    key: Expression
    """CEL over the event, such as body.data.object.customer; null or an error means no order."""
    on_dead: Annotated[Literal["skip", "hold"], unless_unset("skip")] = "skip"
    """Whether a dead delivery lets the next one pass, or holds them until it is retried or cancelled."""


OrderBy = Annotated[OrderRule, Shorthand("key")]


class Transform(Model):
    """What is sent in place of the body as it came."""

    json_: Annotated[Any, Field(alias="json", title="Json")] = None
    """Any structure; text in it may have {{ CEL }} holes, and a lone hole keeps its type."""
    text: Template | None = None
    """Text with {{ CEL }} holes."""
    subject: Template | None = None
    """An email's subject, with {{ CEL }} holes."""
    content_type: MediaType | None = None
    """The content type of `text`."""
    headers: TemplateHeaders = default({})
    """Header fields with {{ CEL }} holes."""

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        written = self.model_fields_set
        if "json_" in written and self.text is not None:
            raise Wrong("`json` and `text` exclude each other")
        if "json_" in written and self.subject is not None:
            raise Wrong("`subject` goes with `text`, or alone, and not with `json`", at="subject")
        if "json_" not in written and self.text is None and self.subject is None and not self.headers:
            raise Wrong("expected `json`, `text`, `subject` or `headers`")
        if self.content_type is not None and self.text is None:
            raise Wrong(
                "`content_type` goes with `text`; `json` is always application/json", at="content_type"
            )
        return self


class RouteDefaults(Model):
    """What every route has unless it says otherwise."""

    when: Annotated[tuple[Expression, ...], OneOrMany()] = ()
    """CEL that must hold for the event, one or a list of which all must hold; none takes every event."""
    stop: Bool = False
    """Whether an event that matches is shown to no later route."""
    order: OrderBy | None = None
    """The key of what goes out in order, or {key, on_dead}; in place of the destination's own."""


class Route(RouteDefaults):
    """Which events of a source go to which destinations."""

    name: Name | None = None
    """Unique; SOURCE-to-DESTINATION unless written."""
    source: str
    """The name of a source."""
    to: Annotated[tuple[str, ...], OneOrMany(), AfterValidator(distinct)]
    """The names of one or more destinations."""
    transform: Transform | None = None
    """What to send in place of what came."""
