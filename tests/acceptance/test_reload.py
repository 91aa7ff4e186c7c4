"""A new file takes over while the service runs, or is refused and the old one stays."""

from __future__ import annotations

import http.client
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from relay.cli.app import app
from tests.acceptance.test_operators import github
from tests.support import Fault, Receiver, RelayProcess, Reply, eventually

StartRelay = Callable[..., RelayProcess]


def a_file(receiver: Receiver, *, path: str = "/old", more: str = "") -> str:
    """One source, and one destination at a path of the receiver."""
    return f"""
sources: {{in: {{verify: none}}}}
destinations:
  out: {{url: "{receiver.url}{path}", retry: {{first_wait: 200ms, factor: 1, jitter: 0}}, breaker: none}}
{more}
routes: [{{source: in, to: out}}]
"""


def metric(relay: RelayProcess, name: str) -> float:
    """One metric without labels."""
    lines = relay.get("/metrics", admin=True).body.decode().splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def ask(relay: RelayProcess, way: str) -> None:
    """Have the service take the file anew; with --watch, the edit alone has done it."""
    if way == "signal":
        relay.signal(signal.SIGHUP)
    elif way == "command":
        assert "took the file" in relay.cli("reload").out


def take_anew(relay: RelayProcess, way: str) -> None:
    """Ask, and wait until it has."""
    ask(relay, way)
    relay.wait_log("config.loaded", 2)


def test_what_was_tried_goes_out_as_it_was_tried(receiver: Receiver, start_relay: StartRelay) -> None:
    """A transform that the route gets later changes new deliveries, and no retry of one that went out."""
    receiver.always = Reply(503)
    relay = start_relay(a_file(receiver))
    relay.config.write_text(a_file(receiver).replace("to: out", "to: out, transform: {text: new}"))
    relay.post("in", b"as it came")
    receiver.wait(1)
    assert "took the file" in relay.cli("reload").out
    receiver.always = Reply()
    relay.wait_log("attempt.finished", outcome="delivered")
    assert {one.body for one in receiver.requests} == {b"as it came"}
    relay.post("in", b"another")
    relay.wait_log("attempt.finished", 2, outcome="delivered")
    assert receiver.requests[-1].body == b"new"


def test_what_expired_goes_out_as_it_was_tried(receiver: Receiver, start_relay: StartRelay) -> None:
    """An operator's retry of what grew too old sends what was sent before, by whatever it ended since."""
    receiver.script(503)
    old = a_file(receiver).replace("first_wait: 200ms", "first_wait: 1h, max_age: 1s")
    relay = start_relay(old)
    relay.post("in", b"as it came")
    (dead,) = relay.wait_log("delivery.dead", outcome="expired")
    relay.config.write_text(old.replace("to: out", "to: out, transform: {text: new}"))
    relay.signal(signal.SIGHUP)
    relay.wait_log("config.loaded", 2)
    relay.cli("retry", dead["delivery_id"])
    assert {one.body for one in receiver.wait(2)} == {b"as it came"}


@pytest.mark.parametrize("way", ["signal", "command", "watch"])
def test_a_new_file_takes_over_between_two_events(
    receiver: Receiver, start_relay: StartRelay, way: str
) -> None:
    """By signal, command or watch: what is in flight ends as it began, the connection stays open."""
    answered = threading.Event()
    receiver.script(Reply(until=answered), path="/old")
    relay = start_relay(a_file(receiver), flags=["--watch"] if way == "watch" else [])
    with closing(http.client.HTTPConnection("127.0.0.1", relay.port, timeout=10)) as sender:
        sender.request("POST", "/hooks/in", "1")
        assert sender.getresponse().read()
        connected = sender.sock
        receiver.wait(1)
        relay.config.write_text(a_file(receiver, path="/new"))
        with ThreadPoolExecutor() as aside:
            taken = aside.submit(take_anew, relay, way)
            while not taken.done():  # a connection that rests for seconds is closed, reload or no
                sender.request("GET", "/livez")
                assert sender.getresponse().read() is not None
                wait([taken], timeout=0.5)
        taken.result()
        sender.request("POST", "/hooks/in", "2")
        assert sender.getresponse().status == 202
        assert sender.sock is connected
    assert [one.path for one in receiver.wait(2)] == ["/old", "/new"]
    answered.set()
    relay.wait_log("attempt.finished", 2, outcome="delivered")
    assert len(receiver.requests) == 2
    assert relay.log("service.started", pid=relay.pid)


def test_a_file_with_mistakes_is_refused_and_the_old_one_stays(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """It is told in log, metric, status and the command's answer; the next good one takes over."""
    relay = start_relay(a_file(receiver))
    relay.config.write_text(a_file(receiver, path="/new").replace("to: out", "to: outt"))
    relay.signal(signal.SIGHUP)
    (line,) = relay.wait_log("config.rejected")
    assert line["level"] == "error"
    assert "outt" in line["error"]
    assert metric(relay, "relay_config_ok") == 0
    assert "outt" in eventually(lambda: _refusal(relay))
    relay.post("in")
    assert receiver.wait(1)[0].path == "/old"

    refused = relay.cli("reload", check=False)
    assert refused.code == 2
    assert "did you mean" in refused.err

    relay.config.write_text(a_file(receiver, path="/new"))
    assert "took the file" in relay.cli("reload").out
    assert metric(relay, "relay_config_ok") == 1
    assert _refusal(relay) is None
    relay.post("in")
    assert receiver.wait(2)[1].path == "/new"


def _refusal(relay: RelayProcess) -> str | None:
    (node,) = relay.cli("status", "--json").json()["nodes"]
    error: str | None = node["config_error"]
    return error


def test_a_process_that_cannot_take_the_file_says_so(receiver: Receiver, start_relay: StartRelay) -> None:
    """What is only wrong where the service runs, such as a variable it lacks, is the command's answer 1."""
    relay = start_relay(a_file(receiver))
    more = f'  more: {{url: "{receiver.url}/${{NOT_THERE}}"}}'
    relay.config.write_text(a_file(receiver, more=more))
    answer = relay.cli("reload", check=False)
    assert answer.code == 1
    assert "refused the file" in answer.out
    assert "NOT_THERE is not set" in answer.out
    assert "when the service started" in answer.out
    (line,) = relay.wait_log("config.rejected")
    assert "${file:…}" in line["error"]
    relay.post("in")
    assert receiver.wait(1)


def test_the_services_environment_counts_whatever_the_shell_has(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """What only the shell of `reload` has is not there, and what is wrong in it alone refuses nothing."""
    relay = start_relay(a_file(receiver), env={"AGE": "1d"})
    shell = {**relay.environ, "AGE": "nonsense", "ONLY_HERE": receiver.url}

    def reloaded(text: str) -> Result:
        relay.config.write_text(a_file(receiver, more=text))
        return CliRunner().invoke(app, ["reload"], env=shell)

    url = f"{receiver.url}/more"
    for value in ("${AGE}", "${AGE:-}"):
        taken = reloaded(f'  more: {{url: "{url}", retry: {{max_age: "{value}"}}}}')
        assert (taken.exit_code, taken.stderr) == (0, "")
        assert "took the file" in taken.stdout
    refused = reloaded('  more: {url: "${ONLY_HERE}"}')
    assert refused.exit_code == 1
    assert "ONLY_HERE is not set" in refused.stdout
    assert "when the service started" in refused.stdout
    assert reloaded(f'  more: {{url: "{url}", max_age: "${{AGE}}"}}').exit_code == 2


def test_nobody_to_ask(receiver: Receiver, start_relay: StartRelay) -> None:
    """While the service is down, `reload` says so: the next start takes the file anyway."""
    relay = start_relay(a_file(receiver))
    relay.term()
    assert "nobody serves" in relay.cli("reload").out


def test_a_secret_is_rotated_by_its_file(receiver: Receiver, start_relay: StartRelay) -> None:
    """`${file:}` is read again at a reload, although the YAML is the same: the new secret verifies."""
    relay = start_relay(
        a_file(receiver).replace("verify: none", 'verify: {scheme: github, secrets: "${file:secret}"}'),
        start=False,
    )
    (relay.folder / "secret").write_text("first\n")
    relay.start()
    assert relay.post("in", b"1", headers=github("first", b"1", "a")).status == 202
    assert relay.post("in", b"2", headers=github("second", b"2", "b")).status == 401
    (relay.folder / "secret").write_text("second\n")
    relay.cli("reload")
    assert relay.post("in", b"2", headers=github("second", b"2", "b")).status == 202
    assert relay.post("in", b"1", headers=github("first", b"1", "c")).status == 401


def test_a_secret_file_is_watched_too(receiver: Receiver, start_relay: StartRelay) -> None:
    """With --watch, the new secret counts without a word to the service."""
    relay = start_relay(
        a_file(receiver).replace("verify: none", 'verify: {scheme: github, secrets: "${file:keys/secret}"}'),
        start=False,
        flags=["--watch"],
    )
    (relay.folder / "keys").mkdir()
    (relay.folder / "keys" / "secret").write_text("first")
    relay.start()
    (relay.folder / "keys" / "next").write_text("second")
    (relay.folder / "keys" / "next").rename(relay.folder / "keys" / "secret")
    relay.wait_log("config.loaded", 2)
    assert relay.post("in", b"2", headers=github("second", b"2", "b")).status == 202


def test_a_folder_is_watched_whoever_takes_its_place(
    receiver: Receiver, start_relay: StartRelay, tmp_path: Path
) -> None:
    """A link to another folder counts as an edit, and so does the next edit there."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "relay.yaml").write_text(a_file(receiver, path=f"/{name}"))
    current, following = tmp_path / "current", tmp_path / "following"
    current.symlink_to("one")
    relay = start_relay(a_file(receiver), env={"RELAY_CONFIG": str(current)}, flags=["--watch"])
    following.symlink_to("two")
    following.rename(current)
    relay.wait_log("config.loaded", 2)
    relay.post("in")
    (current / "relay.yaml").write_text(a_file(receiver, path="/three"))
    relay.wait_log("config.loaded", 3)
    relay.post("in")
    assert [one.path for one in receiver.wait(2)] == ["/two", "/three"]


def test_what_waits_for_a_vanished_destination_waits_visibly_and_goes_on(
    receiver: Receiver, start_relay: StartRelay
) -> None:
    """Its deliveries stay pending, named by `status`, `show`, `deliveries --blocked` and `ledger`."""
    receiver.script(503, path="/gone")
    more = f'  gone: {{url: "{receiver.url}/gone", retry: {{first_wait: 1h}}}}'
    full = a_file(receiver, more=more).replace("to: out", "to: [out, gone]")
    relay = start_relay(full)
    event = relay.post("in").json()["id"]
    relay.wait_log("attempt.finished", destination="gone", decision="retry")

    relay.config.write_text(a_file(receiver))
    relay.cli("reload")
    (delivery,) = relay.cli("deliveries", "--blocked", "--json").json()["deliveries"]
    assert (delivery["destination"], delivery["state"]) == ("gone", "pending")
    assert delivery["waits_for"] == "not in the file"
    assert "not in the file" in relay.cli("status").out
    assert "not in the file" in relay.cli("show", event).out
    assert "not in the file" in relay.cli("ledger").out
    relay.post("in")
    relay.wait_log("attempt.finished", 2, destination="out", decision="delivered")

    relay.cli("retry", delivery["id"])
    relay.config.write_text(full)
    relay.cli("reload")
    relay.wait_log("attempt.finished", destination="gone", decision="delivered")
    assert relay.cli("ledger").code == 0
    assert relay.cli("deliveries", "--blocked", "--json").json()["deliveries"] == []


def test_what_was_to_be_transformed_waits_for_its_route(receiver: Receiver, start_relay: StartRelay) -> None:
    """A delivery whose route left before its first attempt is not sent as it came; it waits for the route."""
    more = f'  slow: {{url: "{receiver.url}/slow", limits: {{concurrency: 1}}}}'
    full = a_file(receiver, more=more).replace(
        "routes: [{source: in, to: out}]",
        "routes: [{source: in, to: out},"
        ' {name: t, source: in, to: slow, transform: {text: "n={{ body.n }}"}}]',
    )
    receiver.script(Reply(fault=Fault.HANG), path="/slow")
    relay = start_relay(full)
    relay.post("in", '{"n": 1}')
    eventually(lambda: [one for one in receiver.requests if one.path == "/slow"])
    event = relay.post("in", '{"n": 2}').json()["id"]
    relay.config.write_text(a_file(receiver, more=more.replace("/slow", "/other").replace(": 1", ": 8")))
    relay.cli("reload")
    relay.wait_log("route.error", event_id=event)
    assert "left the file" in relay.cli("show", event).out
    relay.config.write_text(full.replace("concurrency: 1", "concurrency: 8"))
    relay.cli("reload")
    received = eventually(lambda: [one for one in receiver.requests if one.body == b"n=2"])
    assert received[0].path == "/slow"
    assert not [one for one in receiver.requests if one.path == "/other"]
    relay.kill9()  # its drain would wait for the attempt that hangs


def test_ten_reloads_under_load_lose_nothing(receiver: Receiver, start_relay: StartRelay) -> None:
    """Whatever is posted between the turns is answered 202 and delivered once."""
    relay = start_relay(a_file(receiver))
    sent = 0
    for turn in range(10):
        relay.config.write_text(a_file(receiver, path=f"/{turn}"))
        relay.signal(signal.SIGHUP)
        for _ in range(20):
            assert relay.post("in", str(sent)).status == 202
            sent += 1
    receiver.wait(sent)
    assert sorted(int(one.body) for one in receiver.requests) == list(range(sent))
    assert relay.cli("ledger").code == 0


def test_a_source_comes_and_goes(receiver: Receiver, start_relay: StartRelay) -> None:
    """A new source is there, and one that left is 404, from the reload on."""
    relay = start_relay(a_file(receiver))
    assert relay.post("more").status == 404
    relay.config.write_text(a_file(receiver).replace("sources: {in:", "sources: {more: {verify: none}, in:"))
    relay.cli("reload")
    assert relay.post("more").status == 202
    relay.config.write_text(a_file(receiver))
    relay.cli("reload")
    assert relay.post("more").status == 404
    assert relay.post("in").status == 202
