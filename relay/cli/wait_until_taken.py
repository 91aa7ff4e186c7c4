"""Waits until every process goes by a change, and names those that do not yet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from relay.cli.output import render
from relay.cli.output.formats import clean, moment, relative
from relay.lease_times import TIMES

if TYPE_CHECKING:
    from relay.journal import NodeStatus, Reader

WITHIN = 3.0
"""Seconds in which every process takes a change: each looks once a second."""

_LOOK = 0.05


def all_have_taken(reader: Reader, change: int) -> bool:
    """Whether every process that may begin something goes by this change, within `WITHIN` seconds.

    Those that do not are named, with the time from which on they can begin nothing more.
    """
    began, deadline = reader.now(), time.monotonic() + WITHIN
    while True:
        nodes = [one for one in reader.nodes() if one.alive]
        now = reader.now()
        behind = [one for one in nodes if _may_begin(one, change, began=began, now=now)]
        if not behind or time.monotonic() >= deadline:
            break
        time.sleep(_LOOK)
    for one in nodes:
        if not one.answers:
            render.note(
                f"{_name(one)} runs an older Relay ({clean(one.version)}), which does not report whether it"
                " has taken the change"
            )
    for one in behind:
        until = _blind_from(one, began)
        render.note(
            f"{_name(one)} has not taken the change, and may still begin attempts until {moment(until)}"
            f" ({relative(until, now)})"
        )
    return not behind and all(one.answers for one in nodes)


def _may_begin(one: NodeStatus, change: int, *, began: float, now: float) -> bool:
    """Whether a process may begin attempts by what was before: one that has not looked yet begins none."""
    is_behind = one.answers and one.change is not None and one.change < change
    return is_behind and now < _blind_from(one, began)


def _blind_from(one: NodeStatus, began: float) -> float:
    """From when on a process that does not look, or does not renew its row, begins nothing more."""
    since = began if one.beat_at is None else min(began, one.beat_at)
    return since + TIMES.look_stale + TIMES.clocks_drift


def _name(one: NodeStatus) -> str:
    return f"{clean(one.host)}, process {one.pid} (node {clean(one.id[-8:])})"
