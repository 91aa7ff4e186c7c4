"""Bodies in receipt and in flight share one budget, in which each kind has bytes of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dispatch import Bodies
from relay.errors import RequestRefused
from relay.process.body_memory import MEDIUM, SMALL, BodyMemory, Part
from relay.web.body import BodyBudget

LARGE = 20 * 1024 * 1024
ALL = 256 * 1024 * 1024


def parts_of(memory: BodyMemory) -> tuple[Part, ...]:
    """All parts, those in receipt first."""
    return (
        memory.small_in_receipt,
        memory.large_in_receipt,
        memory.small_in_flight,
        memory.medium_in_flight,
        memory.large_in_flight,
    )


def fill(part: Part, count: int) -> int:
    """Take as many bodies of this size as fit; how many those are."""
    taken = 0
    while part.take(count):
        taken += 1
    return taken


def receive(budget: BodyBudget, size: int) -> bool:
    """Have a body of this size arrive in pieces; one that is refused leaves nothing counted."""
    held = 0
    try:
        while held < size:
            count = min(SMALL, size - held)
            budget.take(count, held=held)
            held += count
    except RequestRefused:
        budget.give(held)
        return False
    return True


def test_what_hangs_in_flight_does_not_stop_the_intake() -> None:
    """With every part in flight as full as it gets, bodies of every size are still received."""
    memory = BodyMemory()
    for part, size in zip(parts_of(memory)[2:], (SMALL, MEDIUM, LARGE), strict=True):
        fill(part, size)
    budget = BodyBudget(memory)
    assert receive(budget, 1000)
    assert receive(budget, MEDIUM)
    assert receive(budget, LARGE)


def test_a_burst_in_receipt_stops_nothing_else() -> None:
    """With as many large bodies in receipt as there is room for, small ones come in and all sizes go out."""
    memory = BodyMemory()
    budget = BodyBudget(memory)
    while receive(budget, LARGE):
        pass
    assert receive(budget, 1000)
    assert receive(budget, SMALL)
    load = Bodies(memory).load("one")
    for number, size in enumerate((1000, SMALL, MEDIUM, LARGE)):
        assert load.take(f"dlv_{number}", f"evt_{number}", body=size, rendered=0)


def test_all_of_them_together_stay_within_the_budget() -> None:
    """Whoever comes first, in receipt and in flight, all bodies are 256 MiB at most."""
    for first in (0, 1):
        memory = BodyMemory()
        budget, load = BodyBudget(memory), Bodies(memory).load("one")
        for turn in (first, 1 - first):
            number = 0
            while number < 100 and (
                receive(budget, LARGE)
                if turn
                else load.take(f"dlv_{number}", f"evt_{number}", body=LARGE, rendered=0)
            ):
                number += 1
            assert number >= 3
        for part in parts_of(memory):
            fill(part, SMALL)
        assert sum(part.used for part in parts_of(memory)) <= ALL


@pytest.mark.parametrize("size", [ALL, 100 * 1024 * 1024])
def test_a_body_that_is_larger_than_its_part_is_received_alone(size: int) -> None:
    """The largest body that a source may have comes in where no other large one does."""
    memory = BodyMemory()
    budget = BodyBudget(memory)
    fill(memory.large_in_flight, LARGE)
    assert receive(budget, size)
    assert not receive(budget, LARGE)
    assert receive(budget, 1000)
    budget.give(1000)
    budget.give(size)
    assert receive(budget, LARGE)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), max_size=60))
def test_bytes_are_neither_lost_nor_made(takes: list[tuple[int, int]]) -> None:
    """In whatever order parts take and give, the sum has its bound, and all of it comes back."""
    memory = BodyMemory(
        small_in_receipt=10,
        large_in_receipt=10,
        small_in_flight=10,
        medium_in_flight=10,
        large_in_flight=10,
        shared=50,
    )
    parts = parts_of(memory)
    held: list[tuple[Part, int]] = []
    for which, count in takes:
        part = parts[which]
        if part.take(count):
            held.append((part, count))
        else:
            assert part.used + count > 10
            if held:
                back, size = held.pop(0)
                back.give(size)
        assert sum(one.used for one in parts) <= 100
    for part, count in held:
        part.give(count)
    assert [part.used for part in parts] == [0] * 5
    assert parts[0].take(60)
