"""A node on PostgreSQL that is told to end hands over what it has not done."""

from __future__ import annotations

from collections.abc import Callable

from tests.support import Fault, Receiver, RelayProcess, Reply, eventually
from tests.support.databases import Databases
from tests.support.experiment import Recorder
from tests.support.load import again

StartRelay = Callable[..., RelayProcess]

SLOW = 8
LEASE = 30.0


def test_what_a_leaving_node_has_in_flight_is_free_at_once(
    receiver: Receiver, start_relay: StartRelay, databases: Databases, experiment: Recorder
) -> None:
    """It exits within its grace, and the other node delivers the rest without waiting for a lease to end."""
    receiver.answer(Reply(fault=Fault.HANG))
    config = f"""
sources: {{in: {{verify: none}}}}
destinations: {{out: {{url: "{receiver.url}/"}}}}
routes: [{{source: in, to: out}}]
"""
    with databases.one() as url:
        leaves = start_relay(config, journal=url, env={"RELAY_GRACE": "2s"})
        stays = start_relay(config, journal=url)
        for number in range(SLOW):
            assert leaves.post("in", f'{{"name": "{number}", "lane": 0, "n": {number}}}').status == 202
        receiver.wait(SLOW)
        receiver.answer(Reply())
        assert leaves.term(timeout=LEASE) == 0
        receiver.wait(2 * SLOW, timeout=LEASE)
        (line,) = leaves.log("service.stopped")
        assert line["released"] == SLOW
        assert again(receiver.requests) == SLOW
        assert not stays.log("delivery.rescued")
        eventually(lambda: stays.cli("ledger", "--json").json()["waiting"] == {})
        ledger = stays.cli("ledger", "--json").json()
        experiment.note(
            "one of 2 nodes told to end",
            ledger,
            acknowledged=SLOW,
            lost=0,
            duplicates=again(receiver.requests),
        )
        assert ledger["balanced"]
