"""A dedup key is text as it is, all else as JSON, and what no index takes as its hash."""

from __future__ import annotations

import hashlib
import json

import pytest

from relay.config.model import DedupRule
from relay.errors import ExpressionError
from relay.expressions import View, compile_program

LONGEST = "é" * 1_200
"""2,400 bytes."""


def view(body: object, *, provider_id: str | None = None) -> View:
    """Make the view of one event."""
    made = View(
        source="s",
        event_id="evt_1",
        received_at=0.0,
        method="POST",
        query=b"",
        headers=((b"content-type", b"application/json"),),
        body=json.dumps(body).encode(),
        placeholders={},
        parse_limit=1 << 20,
    )
    made.provider_id = provider_id
    return made


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("ord_1", "ord_1"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        (False, "false"),
        ({"b": [1, None], "a": "ü"}, '{"a":"ü","b":[1,null]}'),
        (LONGEST, LONGEST),
        (LONGEST + "x", "sha256:" + hashlib.sha256(f"{LONGEST}x".encode()).hexdigest()),
        (None, None),
        ("", None),
    ],
)
def test_a_key_is_written_as_json_has_it(value: object, key: str | None) -> None:
    """Text is itself, so that keys of earlier programs match; null and "" are no key."""
    rule = DedupRule(key=compile_program("body.key"), window=60.0)
    assert rule.key_of(view({"key": value})) == key


def test_a_providers_own_id_is_a_key_of_any_length() -> None:
    """A sender chooses its ids: one that no index takes is known by its hash."""
    rule = DedupRule(key=None, window=60.0)
    assert rule.key_of(view({}, provider_id="msg_1")) == "msg_1"
    assert rule.key_of(view({})) is None
    long = rule.key_of(view({}, provider_id=LONGEST + "x"))
    assert long == rule.key_of(view({}, provider_id=LONGEST + "x"))
    assert long is not None
    assert len(long) == len("sha256:") + 64


def test_a_key_that_fails_raises() -> None:
    """Who asks decides what follows, and has the reason."""
    with pytest.raises(ExpressionError, match=r"missing: body\.key"):
        DedupRule(key=compile_program("body.key"), window=60.0).key_of(view({}))
