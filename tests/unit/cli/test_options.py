"""Filters are read as people type them, and what cannot be is refused with what can."""

from __future__ import annotations

import pytest

from relay.cli.options import make_filter, point_in_time
from relay.errors import UsageError
from relay.journal import Filter
from relay.model import DeliveryState, EventState, Outcome

NOW = 1_800_000_000.0


def filtered(**values: str) -> Filter:
    """The filter that is made of these values, at a given time."""
    return make_filter(now=lambda: NOW, **values)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2h", NOW - 7200),
        ("90s", NOW - 90),
        ("1.5d", NOW - 129_600),
        ("1970-01-01T00:01Z", 60.0),
        ("1970-01-02T00:00:00+01:00", 82_800.0),
    ],
)
def test_a_time_is_so_long_ago_or_iso_8601(text: str, at: float) -> None:
    """Durations count back from now; ISO times are taken with their offset."""
    assert point_in_time(text, "--since", NOW) == at


@pytest.mark.parametrize("text", ["", "yesterday", "-2h", "2 weeks", "9999999999h", "2026-13-01"])
def test_no_time_is_wrong_usage(text: str) -> None:
    """What is neither says which option it was and how to write it."""
    with pytest.raises(UsageError, match=r"--since .*2h"):
        point_in_time(text, "--since", NOW)


def test_states_and_statuses_find_their_kind() -> None:
    """A state may be an event's or a delivery's; a status is a number or an outcome."""
    assert filtered(state="dead", status="503").state is DeliveryState.DEAD
    assert filtered(state="filtered").state is EventState.FILTERED
    assert filtered(status="503").status == 503
    assert filtered(status="timeout").outcome is Outcome.TIMEOUT


@pytest.mark.parametrize(
    "wrong", [{"state": "broken"}, {"status": "5xx"}, {"status": "\u0665"}, {"since": "x"}, {"until": "x"}]
)
def test_what_no_filter_can_mean_is_refused(wrong: dict[str, str]) -> None:
    """Each refusal names the option."""
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))}"):
        filtered(**wrong)
