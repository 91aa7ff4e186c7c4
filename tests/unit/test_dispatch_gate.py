"""A destination's gate: who passes now, how many a claim takes, and when to look again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.breaker import BreakerPolicy
from relay.config import Destination, Timeout
from relay.config.model import Http, Success
from relay.dispatch.gate import Gate
from relay.expressions import compile_template
from relay.limits import Share
from relay.model import Outcome, Standing
from relay.retry import Policy

NOW = 1_760_000_000.25


def destination(**limits: Any) -> Destination:
    """An HTTP destination with four slots and a breaker that opens after three failures."""
    target = Http(
        url=compile_template("http://127.0.0.1/"),
        method=None,
        forward_query=False,
        headers=(),
        success=Success(frozenset({200})),
        auth=None,
        sign=(),
        tls=None,
    )
    values: dict[str, Any] = {
        "concurrency": 4,
        "rate": None,
        "breaker": BreakerPolicy(failures=3, cooldown=30.0),
        "order": None,
        "max_backlog": None,
    }
    return Destination(
        name="out",
        target=target,
        timeout=Timeout(connect=None, total=30.0),
        retry=Policy(),
        **(values | limits),
    )


def gate(standing: Standing | None = None, **limits: Any) -> Gate:
    """A gate behind which nothing is known to wait."""
    made = Gate(destination(**limits), standing or Standing(name="out"), Share())
    made.slots.unsure = False
    return made


def fail(one: Gate, times: int = 1) -> list[bool]:
    """Count so many failures; whether each is one to open the breaker by."""
    return [one.count(Outcome.HTTP_STATUS, 503) for _ in range(times)]


def test_a_newcomer_passes_an_open_way() -> None:
    """With slots free, nothing due and nothing that holds it back, an event is born owned."""
    one = gate()
    assert [one.admit(NOW) for _ in range(5)] == [True] * 4 + [False]


@pytest.mark.parametrize(
    "standing",
    [
        Standing(name="out", paused_at=NOW),
        Standing(name="out", opened_at=NOW, probe_at=NOW + 30),
        Standing(name="out", held_until=NOW + 30),
    ],
    ids=["paused", "open", "held"],
)
def test_nobody_passes_while_the_destination_is_held_back(standing: Standing) -> None:
    """While it is paused, its breaker open, or it asked to be left alone, nothing is born owned."""
    one = gate(standing)
    assert not one.admit(NOW)
    assert not one.admit_before_others(NOW)
    one.apply(replace(standing, paused_at=None, opened_at=None, held_until=None))
    one.slots.unsure = False
    assert one.admit(NOW + 31)


def test_a_paused_destination_is_looked_at_again_by_the_bell_alone() -> None:
    """A pause has no end that could be waited for; when it ends, whatever is due is claimed."""
    one = gate(Standing(name="out", paused_at=NOW))
    one.note_waiting()
    assert one.next_look(NOW) is None
    one.bell.clear()
    one.apply(Standing(name="out", paused_for=60.0))
    assert one.bell.is_set()
    assert one.next_look(NOW) == NOW


def test_a_held_destination_is_looked_at_when_the_hold_ends() -> None:
    """Nothing is claimed before the time that a 429 asked for."""
    one = gate()
    one.note_waiting()
    one.apply(Standing(name="out", held_until=NOW + 60, version=1))
    assert one.next_look(NOW) == NOW + 60
    assert one.next_look(NOW + 60) == NOW + 60


def test_a_newcomer_without_a_token_waits() -> None:
    """Beyond the rate an event waits in the journal, and its slot is free for others."""
    one = gate(rate=1.0)
    assert one.admit(NOW)
    assert not one.admit(NOW)
    assert one.slots.in_flight == 1
    one.note_waiting()
    assert one.next_look(NOW) == pytest.approx(NOW + 1)


def test_slot_and_token_come_back_when_the_event_was_not_stored() -> None:
    """An event that the journal did not take costs its destination nothing."""
    one = gate(rate=1.0)
    assert one.admit(NOW)
    one.leave()
    assert one.admit(NOW)


def test_a_claim_takes_no_more_than_there_are_tokens() -> None:
    """A claim is bounded by the rate, and tokens that it did not use are there for the next."""
    one = gate(rate=20.0)
    one.slots.waiting = 10
    assert one.begin_claim(NOW) == 2
    one.end_claim(asked=2, got=1)
    one.note_waiting()
    assert one.next_look(NOW) == NOW
    assert one.begin_claim(NOW) == 1


def test_without_a_free_slot_the_bell_tells() -> None:
    """Where every slot is taken, looking is no use before one is free."""
    one = gate(concurrency=1)
    assert one.admit(NOW)
    one.note_waiting()
    assert one.next_look(NOW) is None
    one.bell.clear()
    one.release()
    assert one.bell.is_set()
    assert one.next_look(NOW) == NOW


def test_what_is_due_later_is_looked_for_then() -> None:
    """The claimer sleeps until the next known due time."""
    one = gate()
    assert one.next_look(NOW) is None
    one.note_due(NOW + 7)
    assert one.next_look(NOW) == NOW + 7


def test_the_bell_rings_once_for_many_that_wait() -> None:
    """Events that come in for a destination that is held back do not wake its claimer each."""
    one = gate(Standing(name="out", opened_at=NOW, probe_at=NOW + 30))
    one.note_waiting()
    one.bell.clear()
    one.note_waiting()
    assert not one.bell.is_set()


def test_an_open_breaker_lets_one_probe_through_each_cooldown() -> None:
    """While it is open a claim is for one delivery, at the time of the probe, and one at a time."""
    one = gate(Standing(name="out", opened_at=NOW, probe_at=NOW + 30))
    one.slots.unsure = True
    assert one.next_look(NOW) == NOW + 30
    assert one.begin_claim(NOW + 30) == 1
    one.apply(replace(one.standing, probe_at=NOW + 60, version=1))
    one.begin_probe("dlv_1", one.standing)
    one.end_claim(asked=1, got=1)
    assert one.next_look(NOW + 90) is None, "a probe is under way"
    assert one.end_probe("dlv_2") is None
    assert one.end_probe("dlv_1") == NOW
    assert one.next_look(NOW + 31) == NOW + 60


def test_a_hold_that_the_journal_has_no_more_is_over() -> None:
    """An operator ended it, and whatever is due is looked for."""
    one = gate()
    one.apply(Standing(name="out", held_until=NOW + 60, version=1))
    assert not one.admit(NOW)
    one.apply(Standing(name="out", version=2))
    assert one.next_look(NOW) == NOW


@pytest.mark.parametrize(
    "newer", [Standing(name="out", version=2), Standing(name="out", paused_at=NOW, version=2)]
)
def test_an_older_answer_of_the_journal_changes_nothing(newer: Standing) -> None:
    """However late it comes: neither does a hold return after a resume, nor does a pause end before it."""
    one = gate()
    assert one.apply(newer)
    for older in (Standing(name="out"), Standing(name="out", held_until=NOW + 60, version=1)):
        assert not one.apply(older)
    assert one.standing == newer
    assert one.apply(newer), "the same again is no older"


def test_a_journal_that_was_put_back_counts() -> None:
    """An answer that is older than what was known before the journal was asked is no old answer."""
    one = gate()
    one.apply(Standing(name="out", paused_at=NOW, version=12))
    assert not one.apply(Standing(name="out", version=11), known=11), "the newer one came meanwhile"
    assert one.apply(Standing(name="out", version=9), known=12)
    assert one.standing.paused_at is None


def test_a_change_on_its_way_lets_nothing_pass() -> None:
    """Neither a newcomer, nor a claim, nor what has its slot already, until the journal has answered."""
    one = gate()
    one.note_waiting()
    with one.change(), one.change():
        assert not one.admit(NOW)
        assert one.next_look(NOW) is None
        assert not one.may_begin("dlv_1", NOW, born=False)
    assert one.next_look(NOW) == NOW
    assert one.may_begin("dlv_1", NOW, born=False)


def test_what_has_its_slot_begins_only_where_nothing_came_meanwhile() -> None:
    """A pause, a hold, an opening, a reload or another node may have come since."""
    one = gate(concurrency=2)
    assert one.admit(NOW)
    assert one.admit(NOW)
    assert one.may_begin("dlv_1", NOW, born=True)
    for held_back in (
        Standing(name="out", paused_at=NOW, version=1),
        Standing(name="out", held_until=NOW + 1, version=2),
        Standing(name="out", opened_at=NOW, probe_at=NOW, version=3),
    ):
        one.apply(held_back)
        assert not one.may_begin("dlv_1", NOW, born=True)
    one.begin_probe("dlv_1", one.standing)
    assert one.may_begin("dlv_1", NOW, born=False)
    one.apply(Standing(name="out", version=4))
    one.adopt(destination(concurrency=1), NOW)
    assert not one.may_begin("dlv_1", NOW, born=True), "one too many has a slot"
    one.leave()
    assert one.may_begin("dlv_1", NOW, born=True)
    one.take_share(Share(rank=0, nodes=2), NOW, is_settled=True)
    assert not one.may_begin("dlv_1", NOW, born=True), "the nodes take turns, and nobody has counted it"
    assert one.may_begin("dlv_1", NOW, born=False)
    one.retire()
    assert not one.may_begin("dlv_1", NOW, born=False)


def test_a_probe_of_an_opening_that_is_over_is_none_of_the_next() -> None:
    """It says nothing of the newer opening, which is probed by another; failures count anew."""
    one = gate(Standing(name="out", opened_at=NOW, probe_at=NOW))
    one.slots.unsure = True
    one.begin_probe("dlv_1", one.standing)
    assert one.next_look(NOW) is None
    fail(one, 2)
    one.apply(Standing(name="out", opened_at=NOW + 1, probe_at=NOW + 31, version=2))
    assert one.end_probe("dlv_1") is None
    assert one.next_look(NOW + 31) == NOW + 31
    assert one.breaker.failures == 0


def test_a_probe_waits_for_the_hold() -> None:
    """A destination that asked to be left alone is not probed meanwhile."""
    one = gate(Standing(name="out", opened_at=NOW, probe_at=NOW + 30, held_until=NOW + 300))
    one.note_waiting()
    assert one.next_look(NOW + 30) == NOW + 300


def test_failures_in_a_row_open_the_breaker_once() -> None:
    """The failure that reaches the limit opens it; those that were under way meanwhile do not again."""
    one = gate()
    assert fail(one, 3) == [False, False, True]
    with one.change():
        assert fail(one) == [False]
        one.apply(Standing(name="out", opened_at=NOW, probe_at=NOW + 30, version=1))
    assert fail(one) == [False]
    assert one.shut


def test_a_closed_breaker_counts_anew_and_claims_what_is_due() -> None:
    """After it closes, one failure does not open it again, and all that waits is looked for."""
    one = gate()
    fail(one, 3)
    one.apply(Standing(name="out", opened_at=NOW, probe_at=NOW + 30, version=1))
    one.apply(Standing(name="out", version=2))
    assert fail(one, 3) == [False, False, True]
    assert one.next_look(NOW) == NOW


def test_most_attempts_change_nothing() -> None:
    """A delivered attempt matters only where failures came before it, or where it was the probe."""
    one = gate()
    assert not one.affects_state("dlv_1", Outcome.DELIVERED)
    assert one.affects_state("dlv_1", Outcome.TIMEOUT)
    fail(one)
    assert one.affects_state("dlv_1", Outcome.DELIVERED)
    other = gate(Standing(name="out", opened_at=NOW))
    other.begin_probe("dlv_1", other.standing)
    assert other.affects_state("dlv_1", Outcome.DELIVERED)


def test_a_journal_that_gives_nothing_out_is_not_asked_without_pause() -> None:
    """Where something is due and cannot be had, the next look is later, until somebody says otherwise."""
    one = gate()
    one.slots.unsure = True
    one.rest(NOW)
    assert one.next_look(NOW) == NOW + 0.1
    one.look()
    assert one.next_look(NOW) == NOW


def test_new_limits_apply_at_once_and_slots_in_flight_stay_taken() -> None:
    """A reload changes concurrency, rate and breaker; attempts under way keep their slots."""
    one = gate()
    assert one.admit(NOW)
    assert one.admit(NOW)
    one.adopt(destination(concurrency=3, rate=1.0, breaker=BreakerPolicy(failures=1)), NOW)
    one.slots.unsure = False
    assert [one.admit(NOW) for _ in range(2)] == [True, False]
    assert one.slots.in_flight == 3
    assert fail(one) == [True]


def test_the_same_rate_keeps_what_was_used_of_it() -> None:
    """Reloading the file does not give a destination its burst again."""
    one = gate(rate=1.0)
    assert one.admit(NOW)
    one.adopt(destination(rate=1.0, concurrency=8), NOW)
    one.slots.unsure = False
    assert not one.admit(NOW)


def test_another_rate_gives_no_tokens_back() -> None:
    """A reload that changes a rate leaves owed what was spent of it, of a faster and of a slower one."""
    one = gate(rate=100.0, concurrency=99)
    assert [one.admit(NOW) for _ in range(11)] == [True] * 10 + [False]
    for rate, burst in ((101.0, 10.1), (50.0, 5.0), (100.0, 10.0)):
        one.adopt(destination(rate=rate, concurrency=99), NOW)
        one.slots.unsure = False
        assert not one.admit(NOW)
        assert one.bucket is not None
        assert one.bucket.ready_at == pytest.approx(NOW + (11 - burst) / rate)


def test_a_probe_that_was_not_used_leaves_its_own_turn_and_no_other() -> None:
    """What a reload or another node did to the time of the next probe meanwhile stays as it is."""
    one = gate(Standing(name="out", opened_at=NOW, probe_at=NOW + 30))
    one.slots.unsure = True
    one.begin_probe("dlv_1", one.standing)
    one.apply(replace(one.standing, probe_at=NOW + 60, version=1))
    assert one.end_probe("dlv_1", used=False) == NOW
    assert one.next_look(NOW + 31) == NOW + 60, "the probe of another node is under way"
    one.begin_probe("dlv_2", one.standing)
    assert one.end_probe("dlv_2", used=False) == NOW
    assert one.next_look(NOW + 31) == NOW + 31, "its own turn goes to the next"


def test_a_destination_that_left_the_file_lets_nothing_more_pass() -> None:
    """What is under way ends; nothing new begins until the destination is back."""
    one = gate()
    one.retire()
    assert one.bell.is_set()
    assert not one.admit(NOW)
    one.adopt(destination(), NOW)
    one.slots.unsure = False
    assert one.admit(NOW)


def share(one: Gate, rank: int, nodes: int, *, is_settled: bool = True) -> None:
    """Have a gate go by so many nodes."""
    one.take_share(Share(rank=rank, nodes=nodes), NOW, is_settled=is_settled)


def test_each_node_takes_its_part_of_the_slots() -> None:
    """A node that comes makes the others' parts smaller; what is in flight beyond them ends by itself."""
    one = gate(concurrency=16)
    assert [one.admit(NOW) for _ in range(8)] == [True] * 8
    share(one, 0, 3)
    assert not one.admit(NOW)
    for _ in range(3):
        one.release()
    assert [one.admit(NOW) for _ in range(2)] == [True, False], "six of sixteen, for the first of three"
    share(one, 0, 1)
    assert sum(one.admit(NOW) for _ in range(16)) == 10


def test_each_node_takes_its_part_of_the_rate() -> None:
    """It is slower from the next token on, and another node's coming gives no token."""
    one = gate(rate=3.0, concurrency=12)
    assert one.admit(NOW)
    share(one, 1, 3)
    one.note_waiting()
    assert one.next_look(NOW) == pytest.approx(NOW + 1)
    one.adopt(destination(rate=6.0, concurrency=12), NOW)
    assert not one.admit_before_others(NOW), "what was spent of the old rate is spent of the new one"
    assert one.next_look(NOW) == pytest.approx(NOW + 0.5), "a new rate is divided as well"


def test_an_undivided_limit_gives_nothing_without_a_claim_but_to_one_alone() -> None:
    """Nobody counts what is born owned, so where there are other nodes nothing is."""
    one = gate(concurrency=1)
    share(one, 0, 1)
    assert one.admit(NOW)
    one.leave()
    share(one, 0, 2)
    one.slots.unsure = False
    assert not one.admit(NOW)
    one.note_waiting()
    assert one.next_look(NOW) == NOW
    assert one.room(one.begin_claim(NOW)) == 1


@pytest.mark.parametrize("concurrency", [1, 16])
def test_a_node_that_comes_takes_nothing_before_the_others_have_made_room(concurrency: int) -> None:
    """Neither claims nor newcomers pass; then it has its part, of the rate as well."""
    one = Gate(destination(concurrency=concurrency, rate=100.0), Standing(name="out"), Share(taken=False))
    one.note_waiting()
    for _ in range(2):
        assert one.next_look(NOW) is None
        assert not one.admit(NOW)
        assert not one.admit_before_others(NOW)
        share(one, 1, 2, is_settled=False)
    one.bell.clear()
    share(one, 1, 2)
    assert one.bell.is_set()
    assert one.next_look(NOW) == NOW
    assert one.slots.free == min(concurrency, 8)
    one.give_up_share()
    assert one.next_look(NOW) is None, "the others may have taken it for gone"


def test_a_part_that_grows_waits_and_one_that_shrinks_does_not() -> None:
    """Another left, and a third may have more under way than its part is now."""
    one = gate(concurrency=16)
    share(one, 0, 3)
    assert one.slots.free == 6
    share(one, 0, 2, is_settled=False)
    assert one.slots.free == 6
    share(one, 0, 4, is_settled=False)
    assert one.slots.free == 4
    one.adopt(destination(concurrency=20), NOW)
    assert one.slots.free == 4
    share(one, 0, 4)
    assert one.slots.free == 5


def test_a_limit_that_can_be_divided_again_is_counted_until_all_are_within_their_parts() -> None:
    """Another may own two of two, by its turn."""
    one = gate(concurrency=2)
    share(one, 1, 3)
    assert one.room(0) == 2
    share(one, 1, 2, is_settled=False)
    assert (one.room(0), one.slots.free, one.turns) == (2, 1, True)
    share(one, 1, 2)
    assert (one.room(0), one.slots.free, one.turns) == (None, 1, False)


def test_what_this_node_has_in_flight_leaves_less_room() -> None:
    """So many as the limit, less its own; those of other nodes are for the journal to count."""
    one = gate(concurrency=4)
    share(one, 0, 5)
    one.slots.waiting = 9
    asked = one.begin_claim(NOW)
    assert (asked, one.room(asked)) == (4, 4)
    one.end_claim(asked=asked, got=3)
    assert one.room(one.begin_claim(NOW)) == 1


def test_who_waits_for_its_turn_asks_less_and_less_often() -> None:
    """Up to every two seconds, while another node goes on; a claim that gave something begins anew."""
    one = gate(concurrency=1)
    share(one, 1, 2)
    one.note_waiting()
    pauses = []
    for _ in range(7):
        one.rest(NOW)
        pauses.append((one.next_look(NOW) or 0) - NOW)
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    one.end_claim(asked=one.begin_claim(NOW), got=1)
    one.rest(NOW)
    one.release()
    assert one.next_look(NOW) == pytest.approx(NOW + 0.1), "after an attempt it asks what else there is"
