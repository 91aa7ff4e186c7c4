"""Microsoft Graph signs nothing: each notification of a batch shows the secret of its subscription."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from relay.errors import SignatureError
from relay.expressions.parse import json_value
from relay.model import Headers, Request
from relay.signatures import handshakes
from relay.signatures.event_fields import InBatch
from relay.signatures.scheme import Outgoing, Scheme, Verified, match_index

_STATE: Final = "clientState"
_MAX_ITEMS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrosoftGraph(Scheme):
    """Every item is compared: one request may mix items of several apps and tenants."""

    states: tuple[bytes, ...] = field(repr=False)

    def verify(self, request: Request, *, now: float) -> Verified:  # noqa: ARG002 - a token has no age
        """Compare the clientState of every item with every one in the file."""
        found: int | None = None
        for item in _items(request.body):
            shown = item.get(_STATE) if isinstance(item, Mapping) else None
            if not isinstance(shown, str) or not shown:
                raise SignatureError("missing", f"an item has no {_STATE}")
            index = match_index(self.states, (shown.encode("utf-8", "replace"),))
            if index is None:
                raise SignatureError("mismatch", f"the {_STATE} of an item is not in the file")
            found = index if found is None else found
        return Verified(found)

    def fill(self, body: bytes, *, now: float, event_id: str) -> bytes:  # noqa: ARG002 - see Scheme
        """Write the first clientState into every item; a body without items becomes one."""
        try:
            value = json.loads(body)
        except ValueError:
            return body
        if not isinstance(value, dict):
            return body
        items = value.get("value") if isinstance(value.get("value"), list) else [value]
        state = self.states[0].decode("utf-8", "replace")
        filled = [{**item, _STATE: state} for item in items or () if isinstance(item, dict)]
        return json.dumps({"value": filled}, separators=(",", ":")).encode()

    def write(self, outgoing: Outgoing) -> Headers:  # noqa: ARG002 - see the class
        """No header shows it: see `fill`."""
        return ()


def graph_scheme(states: Sequence[bytes]) -> MicrosoftGraph:
    """Build the scheme for the clientStates of the subscriptions."""
    return MicrosoftGraph(
        name="microsoft-graph",
        proof="authenticated",
        greeting=handshakes.MICROSOFT_GRAPH,
        type_at=(InBatch(("changeType",), within=("value",)),),
        states=tuple(states),
    )


def _items(body: bytes) -> list[object]:
    try:
        value = json_value(body)
    except ValueError:
        raise SignatureError("malformed", "the body is no JSON") from None
    items = value.get("value") if isinstance(value, Mapping) else None
    if not isinstance(items, list) or not items or len(items) > _MAX_ITEMS:
        raise SignatureError("malformed", "the body has no list of notifications")
    return items
