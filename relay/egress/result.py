"""What came of one attempt."""

from __future__ import annotations

from dataclasses import dataclass

from relay.model import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How an attempt ended: `status` where one came, else `error`; `note` is a remark on what worked.

    `response` is the start of the body, undecoded; `retry_after` is in seconds.
    """

    outcome: Outcome
    status: int | None = None
    error: str | None = None
    response: bytes = b""
    note: str | None = None
    retry_after: float | None = None
