"""What expressions see of one event; nothing is decoded or parsed before somebody asks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from relay.errors import ExpressionError
from relay.expressions.parse import TooDeepError, clean, form_value, json_value
from relay.model import Headers

_UNSET = object()


class View:
    """One event as expressions see it: `event body raw headers query path method`.

    Cheap to make; the body is parsed at most once. `type` and `provider_id` are set when the scheme
    has told them, before the first expression is asked. `parse_limit` is in bytes.
    """

    __slots__ = (
        "_event",
        "_headers",
        "_parsed",
        "_placeholders",
        "_query",
        "_raw_headers",
        "_raw_query",
        "event_id",
        "method",
        "parse_error",
        "parse_limit",
        "payload",
        "provider_id",
        "received_at",
        "source",
        "type",
    )

    def __init__(
        self,
        *,
        source: str,
        event_id: str,
        received_at: float,
        method: str,
        query: bytes,
        headers: Headers,
        body: bytes,
        placeholders: Mapping[str, str],
        parse_limit: int,
    ) -> None:
        self.source = source
        self.event_id = event_id
        self.received_at = received_at
        self.method = method
        self.payload = body
        self.parse_limit = parse_limit
        self.parse_error: str | None = None
        self.type: str | None = None
        self.provider_id: str | None = None
        self._raw_query = query
        self._raw_headers = headers
        self._placeholders = placeholders
        self._parsed: object = _UNSET
        self._event: dict[str, object] | None = None
        self._headers: dict[str, str] | None = None
        self._query: dict[str, str] | None = None

    @property
    def parsed(self) -> object:
        """The body as a value, or None; then `parse_error` says why, unless it was empty or null."""
        if self._parsed is _UNSET:
            self._parsed = self._parse()
        return self._parsed

    @property
    def event(self) -> dict[str, object]:
        """The map `event`: id, type, provider_id, source, received_at (a timestamp of CEL's)."""
        return {**self.untimed, "received_at": datetime.fromtimestamp(self.received_at, UTC)}

    @property
    def untimed(self) -> dict[str, object]:
        """The map `event` without its time, for those who do not name it: most ask for the type alone."""
        if self._event is None:
            kind, provider_id = self.type, self.provider_id
            self._event = {
                "id": self.event_id,
                "type": kind if kind is None else clean(kind),
                "provider_id": provider_id if provider_id is None else clean(provider_id),
                "source": self.source,
            }
        return self._event

    @property
    def raw(self) -> str:
        """The body as text, U+FFFD for what is no UTF-8; raises ExpressionError above the limit."""
        if len(self.payload) > self.parse_limit:
            raise ExpressionError(f"raw: the body has more than the {self.parse_limit:,} bytes of `parse`")
        return self.payload.decode("utf-8", "replace")

    @property
    def headers(self) -> dict[str, str]:
        """Header names in lower case and the first value of each."""
        if self._headers is None:
            self._headers = {
                name.decode("latin-1"): value.decode("utf-8", "replace")
                for name, value in reversed(self._raw_headers)
            }
        return self._headers

    @property
    def query(self) -> dict[str, str]:
        """The first value of each name in the query."""
        if self._query is None:
            try:
                self._query = form_value(self._raw_query)
            except ValueError as error:
                raise ExpressionError("query: it has too many fields") from error
        return self._query

    @property
    def path(self) -> dict[str, str]:
        """What the placeholders in the source's path stand for."""
        return {name: clean(value) for name, value in self._placeholders.items()}

    def _parse(self) -> object:
        if not self.payload:
            return None
        if len(self.payload) > self.parse_limit:
            self.parse_error = "too_large"
            return None
        try:
            return form_value(self.payload) if self._is_form() else json_value(self.payload)
        except TooDeepError:
            self.parse_error = "too_deep"
        except ValueError:
            self.parse_error = "invalid"
        return None

    def _is_form(self) -> bool:
        for name, value in self._raw_headers:
            if name == b"content-type":
                return value.split(b";", 1)[0].strip().lower() == b"application/x-www-form-urlencoded"
        return False
