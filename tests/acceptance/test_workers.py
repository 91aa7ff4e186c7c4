"""Several workers on one machine: one address, one operator listener, one journal, and a parent over all."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import Receiver, RelayProcess, Reply, eventually, free_port, post, request
from tests.support.length import Length

pytestmark = pytest.mark.timeout(300)  # each start is that of three processes

StartRelay = Callable[..., RelayProcess]
TWO = ("--workers", "2")
WITHIN = 60.0


def config(receiver: Receiver, *, name: str = "out") -> str:
    """Everything that is posted to `in` goes to the receiver."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations: {{{name}: {{url: "{receiver.url}/sink", retry: {{first_wait: 200ms, factor: 1}}}}}}
routes: [{{source: in, to: {name}}}]
"""


@pytest.fixture
def start_relay(start_relay: StartRelay) -> StartRelay:
    """Start a service, however long three processes take to begin."""

    def start_one(config: str, *, start: bool = True, **options: Any) -> RelayProcess:
        relay = start_relay(config, start=False, **options)
        return relay.start(timeout=WITHIN) if start else relay

    return start_one


@pytest.fixture(params=["sqlite", "postgres"])
def journal(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A journal of each engine; None is the service's own file."""
    if request.param == "sqlite":
        yield None
    else:
        with request.getfixturevalue("databases").one() as url:
            yield url


def workers(relay: RelayProcess) -> list[dict[str, Any]]:
    """The nodes that live, as `relay status` names them."""
    return [one for one in relay.cli("status", "--json").json()["nodes"] if one["alive"]]


def both_ready(relay: RelayProcess) -> list[dict[str, Any]]:
    """The two workers, once both serve."""
    relay.wait_log("service.ready", 2, timeout=WITHIN)
    found = workers(relay)
    assert len(found) == 2
    return found


def metric(relay: RelayProcess, name: str) -> float:
    """The sum over all samples of one metric on the operators' page."""
    lines = relay.get("/metrics", admin=True).body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))


def has_ended(pid: int) -> bool:
    """Whether no process has this id, or only its remains."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - one line of the kernel's
            return stat.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@contextlib.contextmanager
def load(relay: RelayProcess) -> Iterator[list[str]]:
    """Six senders that post as fast as they are answered; yields the names of what was acknowledged."""
    acknowledged: list[str] = []
    stop = threading.Event()

    def send(sender: int) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            name = f"{sender}-{number}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if relay.post("in", json.dumps({"name": name}), timeout=5).status == 202:
                    acknowledged.append(name)
            stop.wait(0.01)

    senders = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for sender in senders:
        sender.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for sender in senders:
            sender.join()


def test_two_workers_from_start_to_end(receiver: Receiver, start_relay: StartRelay, length: Length) -> None:
    """What holds of two workers, one thing after another on one service, and on the one that follows it."""
    page = free_port()
    relay = start_relay(
        config(receiver), flags=(*TWO, "--watch"), env={**length.env, "RELAY_METRICS_PORT": str(page)}
    )
    _they_share_one_address_and_one_page(relay, receiver, page)
    _a_second_service_on_the_same_address_is_refused(relay, receiver, start_relay)
    _a_new_file_reaches_every_worker(relay, receiver)
    survivor = _mistakes_in_the_file_do_not_end_who_serves(relay)
    _a_hung_worker_leaves_the_page_alone_and_is_replaced(relay, survivor)
    _workers_end_when_their_parent_is_killed(relay)
    following = start_relay(
        config(receiver).replace("{verify: none}", "{verify: none, allow_ips: 127.0.0.1}"),
        flags=TWO,
        journal=relay.journal,
        env={"RELAY_HOST": "::"},
        start=False,
    )
    following.port = relay.port
    following.start(timeout=WITHIN)
    both_ready(following)
    _every_address_of_both_families_is_served(following)
    _a_sigterm_ends_all_and_gives_what_is_in_flight_the_grace(following, receiver)


def _they_share_one_address_and_one_page(relay: RelayProcess, receiver: Receiver, port: int) -> None:
    """Both take events from one port; one page, also on METRICS_PORT, adds them up; the log tears no line."""
    found = both_ready(relay)
    assert len({one["pid"] for one in found}) == 2
    assert relay.pid not in {one["pid"] for one in found}
    assert len({one["config"] for one in found}) == 1
    for _ in range(80):
        assert relay.post("in").status == 202
    taken = Counter(line["node"] for line in relay.wait_log("event.accepted", 80))
    assert set(taken) == {one["id"] for one in found}
    receiver.wait(80)
    relay.wait_log("attempt.finished", 80)
    assert metric(relay, "relay_events_total") == 80
    assert metric(relay, "relay_ack_seconds_count") == 80
    assert metric(relay, "relay_attempts_total") == 80
    assert metric(relay, "relay_backlog") == 0
    assert metric(relay, "relay_config_ok") == 1
    assert metric(relay, "relay_build_info") == 1
    page = request("GET", f"http://127.0.0.1:{port}/metrics")
    assert page.status == 200
    assert b"relay_events_total" in page.body
    assert relay.log("service.started")[0]["metrics"] == f"127.0.0.1:{port}"
    for name in ("service.started", "service.ready"):
        assert {line["node"] for line in relay.log(name) if "node" in line} == set(taken)
    assert [line["nodes"] for line in relay.log("service.ready")] == [2, 2]


def _a_second_service_on_the_same_address_is_refused(
    relay: RelayProcess, receiver: Receiver, start_relay: StartRelay
) -> None:
    """Workers share an address with each other and with nobody else, who would take half of what comes."""
    for flags in ((), TWO):
        second = start_relay(config(receiver), flags=flags, env={"RELAY_PORT": str(relay.port)}, start=False)
        ended = second.start(ready=False).wait_exit(timeout=WITHIN)
        assert ended.code == 2
        assert f"cannot listen on 127.0.0.1:{relay.port}: Address already in use" in ended.err


def _a_new_file_reaches_every_worker(relay: RelayProcess, receiver: Receiver) -> None:
    """By SIGHUP to the parent, by `relay reload`, and by the file itself with --watch."""

    def digests() -> set[str]:
        return {one["config"] for one in workers(relay)}

    first = digests()
    told = relay.cli("reload").out
    assert told.count("took the file") == 2
    relay.config.write_text(config(receiver, name="other"))
    eventually(lambda: digests() != first and len(digests()) == 1, timeout=WITHIN)
    loaded = len(relay.log("config.loaded"))
    relay.signal(signal.SIGHUP)
    eventually(
        lambda: len({line["node"] for line in relay.log("config.loaded")[loaded:]}) == 2, timeout=WITHIN
    )


def _mistakes_in_the_file_do_not_end_who_serves(relay: RelayProcess) -> dict[str, Any]:
    """A worker that takes a dead one's place and finds mistakes tries again; the other, returned, goes on."""
    victim, other = workers(relay)
    good = relay.config.read_text()
    ready = len(relay.log("service.ready"))
    relay.config.write_text(good.replace("to: other", "to: nowhere"))
    os.kill(victim["pid"], signal.SIGKILL)
    lines = relay.wait_log("library.message", 2, logger="relay.workers", timeout=WITHIN)
    assert "ended by exit code 2; another starts in 1 s" in lines[1]["message"]
    assert relay.post("in").status == 202
    relay.config.write_text(good)
    relay.wait_log("service.ready", ready + 1, timeout=WITHIN)
    assert other["pid"] in {one["pid"] for one in workers(relay)}
    return other


def _a_hung_worker_leaves_the_page_alone_and_is_replaced(relay: RelayProcess, frozen: dict[str, Any]) -> None:
    """Its last counts stand on the page, whose gauges another looks up; then another takes its place."""
    relay.wait_log("attempt.finished", 81)
    taken = metric(relay, "relay_events_total")
    assert taken >= len(relay.log("event.accepted", node=frozen["id"])) > 0
    ready, ended = len(relay.log("service.ready")), len(relay.log("library.message", logger="relay.workers"))
    os.kill(frozen["pid"], signal.SIGSTOP)
    assert metric(relay, "relay_events_total") == taken
    assert metric(relay, "relay_journal_bytes") > 0
    *_, line = relay.wait_log("library.message", ended + 1, logger="relay.workers", timeout=2 * WITHIN)
    assert f"(process {frozen['pid']}) ended by a signal, since it was hung" in line["message"]
    relay.wait_log("service.ready", ready + 1, timeout=WITHIN)
    assert metric(relay, "relay_events_total") == taken
    assert len(workers(relay)) == 2


def _workers_end_when_their_parent_is_killed(relay: RelayProcess) -> None:
    """Nobody would supervise them, and the next start could not have the address."""
    pids = [one["pid"] for one in workers(relay)]
    relay.kill9()
    eventually(lambda: all(has_ended(pid) for pid in pids), timeout=WITHIN)
    assert len(relay.log("service.stopped")) == 2


def _every_address_of_both_families_is_served(relay: RelayProcess) -> None:
    """`::` takes connections over IPv4 too, and such a peer keeps its plain address."""
    assert relay.post("in").status == 202
    assert post(f"http://[::1]:{relay.port}/hooks/in").status == 403
    (line,) = relay.wait_log("event.rejected")
    assert line["remote"] == "::1"
    relay.post("nowhere")
    assert relay.wait_log("event.rejected", 2)[1]["remote"] == "127.0.0.1"


def _a_sigterm_ends_all_and_gives_what_is_in_flight_the_grace(
    relay: RelayProcess, receiver: Receiver
) -> None:
    """The parent ends with 0 once every worker has drained, and no process is left."""
    relay.wait_log("attempt.finished", outcome="delivered")
    receiver.always = Reply(delay=1.0)
    pids, before = [one["pid"] for one in workers(relay)], len(receiver.requests)
    for _ in range(6):
        relay.post("in")
    receiver.wait(before + 6)
    assert relay.term() == 0
    assert all(has_ended(pid) for pid in pids)
    assert len(relay.log("attempt.finished", outcome="delivered")) == 7
    drained = {line["node"] for line in relay.log("service.draining")}
    assert len(drained) == 2
    assert len(relay.log("service.stopped")) == 3
    assert "ledger balances" in relay.cli("ledger").out


def test_one_worker_is_one_process(receiver: Receiver, start_relay: StartRelay) -> None:
    """Nobody supervises a single worker: the process that was started serves, on both families by `::`."""
    relay = start_relay(
        config(receiver).replace("{verify: none}", "{verify: none, allow_ips: 127.0.0.1}"),
        flags=("--workers", "1"),
        env={"RELAY_HOST": "::"},
    )
    (only,) = workers(relay)
    assert only["pid"] == relay.pid
    _every_address_of_both_families_is_served(relay)


def test_killing_one_of_two_loses_nothing_and_the_other_goes_on(
    receiver: Receiver, start_relay: StartRelay, journal: str | None, length: Length
) -> None:
    """Under load: events are acknowledged before another takes its place; none is lost; no count falls."""
    receiver.always = Reply(delay=0.05)
    relay = start_relay(config(receiver), flags=TWO, journal=journal, env=length.env)
    victim, other = both_ready(relay)
    with load(relay) as acknowledged:
        eventually(lambda: len(acknowledged) > 60, timeout=WITHIN)
        before = metric(relay, "relay_events_total")
        os.kill(victim["pid"], signal.SIGKILL)
        killed_at = len(acknowledged)
        eventually(lambda: len(acknowledged) > killed_at + 20, timeout=WITHIN)
        assert metric(relay, "relay_events_total") >= before
        relay.wait_log("service.ready", 3, timeout=WITHIN)
    ready = relay.log("service.ready")[2]["timestamp"]
    died = relay.wait_log("library.message", logger="relay.workers")[0]
    assert died["message"].startswith("worker ")
    assert f"(process {victim['pid']}) ended by SIGKILL; another starts in 0.5 s" in died["message"]
    meanwhile = [
        line
        for line in relay.log("event.accepted", node=other["id"])
        if died["timestamp"] < line["timestamp"] < ready
    ]
    assert meanwhile
    wanted = set(acknowledged)
    eventually(
        lambda: wanted <= {json.loads(one.body)["name"] for one in receiver.requests}, timeout=2 * WITHIN
    )
    eventually(lambda: metric(relay, "relay_backlog") == 0, timeout=WITHIN)
    assert "ledger balances" in relay.cli("ledger").out
    now = {one["pid"] for one in workers(relay)}
    assert other["pid"] in now
    assert victim["pid"] not in now
    assert relay.term() == 0


def test_a_file_with_mistakes_is_told_once_and_ends_all_with_two(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """As with one worker: no worker is started again for what it refuses at the start."""
    relay = start_relay(config(receiver).replace("to: out", "to: nowhere"), flags=TWO, start=False)
    relay.start(ready=False)
    ended = relay.wait_exit(timeout=WITHIN)
    assert ended.code == 2
    assert ended.err.count("nowhere") == 1
    assert not relay.log("library.message")


def test_a_worker_is_not_for_people(receiver: Receiver, start_relay: StartRelay) -> None:
    """Started by hand it says what starts it."""
    ended = start_relay(config(receiver), start=False).cli("worker", check=False)
    assert ended.code == 2
    assert "relay serve --workers N" in ended.err
