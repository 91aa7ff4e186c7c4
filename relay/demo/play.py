"""The demo's run: set the stage, post, follow to the end, tell what happened, clear away."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx

from relay import config
from relay.demo import receiver
from relay.demo.samples import CHALLENGE, CONFIG, HANDSHAKE, SAMPLES, Sample, new_secrets
from relay.errors import UsageError
from relay.journal import Reader
from relay.model import Attempt, DeliveryState

Say = Callable[[str], None]

_READY_WITHIN = 20.0
_DELIVERED_WITHIN = 30.0
_STOP_WITHIN = 15.0
_LOG_TAIL = 20
_INTERRUPTED = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """The demo's own small world: a folder, an environment, and where things listen."""

    folder: Path
    environ: Mapping[str, str]
    ingress: str
    receiver: str

    @property
    def journal(self) -> str:
        return self.environ["RELAY_JOURNAL"]

    @property
    def log(self) -> Path:
        return self.folder / "relay.log"


def run(*, once: bool, say: Say) -> int:
    """Play the demo; 0 when every event was delivered. Without `once` it stays up until Ctrl-C."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="relay-demo-") as folder,
            receiver.running() as base,
            _service(_stage(Path(folder), base)) as stage,
        ):
            return _play(stage, once=once, say=say)
    except KeyboardInterrupt:
        say("Stopped.")
        return _INTERRUPTED if once else 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(signum: int, _frame: FrameType | None) -> NoReturn:
    """Leave by the `finally` blocks, so that what was started is ended too."""
    sys.exit(128 + signum)


def _stage(folder: Path, base: str) -> _Stage:
    port, admin_port = _free_ports(2)
    path = folder / "relay.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    environ |= new_secrets() | {
        "DEMO_RECEIVER": base,
        "RELAY_CONFIG": str(path),
        "RELAY_JOURNAL": f"sqlite:///{folder / 'relay.db'}",
        "RELAY_HOST": "127.0.0.1",
        "RELAY_PORT": str(port),
        "RELAY_ADMIN_PORT": str(admin_port),
        "RELAY_GRACE": "5s",
    }
    return _Stage(folder, environ, f"http://127.0.0.1:{port}", base)


def _free_ports(count: int) -> Sequence[int]:
    """Ports that were free a moment ago, all held until all are found, so that they differ."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


@contextmanager
def _service(stage: _Stage) -> Iterator[_Stage]:
    """The real service in a process of its own, ready; it is told to end with the block."""
    with stage.log.open("wb") as log:
        # A session of its own: Ctrl-C is ours to pass on, once, after what it interrupts.
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", "serve"],
            env=stage.environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_ready(stage, process)
        yield stage
    finally:
        _stop(process)


def _wait_ready(stage: _Stage, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    with httpx.Client(trust_env=False, timeout=2) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if client.get(f"{stage.ingress}/readyz").is_success:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            time.sleep(0.05)
    tail = "\n".join(stage.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:])
    raise UsageError(f"the service did not become ready; the end of its log:\n{tail}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _play(stage: _Stage, *, once: bool, say: Say) -> int:
    say(f"Relay listens on {stage.ingress}; its file, journal and log are in {stage.folder}.")
    say(f"The receiver on {stage.receiver} answers 503 to the first attempt of everything.\n")
    events = _post_all(stage, say)
    with Reader.open(stage.journal) as reader:
        complete = _follow(reader, events)
        say("\nWhat became of them:")
        for event_id in events:
            _tell(reader, event_id, say)
    say("")
    balanced = _command(stage, "ledger")
    done = complete and balanced and len(events) == len(SAMPLES)
    say(
        f"\nAll {len(events)} events were delivered." if done else f"\nNOT all was delivered; see {stage.log}"
    )
    if not done:
        say("\n".join(stage.log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]))
    if not once:
        _stay(stage, say)
    return 0 if done else 1


def _post_all(stage: _Stage, say: Say) -> list[str]:
    """Post every sample as its provider would; the ids of those that were taken."""
    configuration = config.load(Path(stage.environ["RELAY_CONFIG"]), stage.environ)
    events: list[str] = []
    say("Posting, signed as each provider signs:")
    with httpx.Client(trust_env=False, timeout=10) as client:
        answer = _post(client, stage, configuration.sources["slack"], HANDSHAKE)
        echoed = "challenge answered, nothing stored" if CHALLENGE in answer.text else "NOT ANSWERED"
        say(f"  {HANDSHAKE.source:<9} {HANDSHAKE.title:<20} {answer.status_code}  {echoed}")
        for sample in SAMPLES:
            answer = _post(client, stage, configuration.sources[sample.source], sample)
            event_id = str(answer.json().get("id", "")) if answer.is_success else ""
            result = event_id or answer.text[:200]
            say(f"  {sample.source:<9} {sample.title:<20} {answer.status_code}  {result}")
            if event_id:
                events.append(event_id)
    return events


def _post(client: httpx.Client, stage: _Stage, source: config.Source, sample: Sample) -> httpx.Response:
    url = f"{stage.ingress}/hooks/{sample.source}"
    headers = source.scheme.sign(
        sample.body, now=time.time(), event_id=str(uuid.uuid4()), url=url, event_type=sample.event_type
    )
    return client.post(url, content=sample.body, headers=list(headers))


def _follow(reader: Reader, events: Sequence[str]) -> bool:
    """Wait until nothing is pending any more; whether all was delivered."""
    deadline = time.monotonic() + _DELIVERED_WITHIN
    while True:
        states = [one.state for event_id in events for one in reader.deliveries_of(event_id)]
        if DeliveryState.PENDING not in states or time.monotonic() > deadline:
            return bool(states) and set(states) == {DeliveryState.DELIVERED}
        time.sleep(0.1)


def _tell(reader: Reader, event_id: str, say: Say) -> None:
    event = reader.event(event_id)
    if event is None:
        say(f"  {event_id}  is not in the journal")
        return
    say(f"  {event.source} {event.type or ''}  {event_id}")
    for delivery in reader.deliveries_of(event_id):
        attempts = reader.attempts_of(delivery.id)
        tries = ", ".join(_try(one, event.received_at) for one in attempts)
        say(f"    -> {delivery.destination:<9} {delivery.state.value:<10} {tries}")


def _try(attempt: Attempt, since: float) -> str:
    said = attempt.status if attempt.status is not None else attempt.outcome.value
    return f"#{attempt.number} after {max(0.0, attempt.started_at - since) * 1000:.0f}ms: {said}"


def _command(stage: _Stage, *arguments: str) -> bool:
    """Run a command of Relay's own on the demo's journal, its output among ours."""
    sys.stdout.flush()
    return (
        subprocess.run(  # noqa: S603 - our own module, by our own interpreter
            [sys.executable, "-m", "relay", *arguments], env=stage.environ, check=False
        ).returncode
        == 0
    )


def _stay(stage: _Stage, say: Say) -> None:
    names = [name for name in stage.environ if name.startswith(("DEMO_", "RELAY_"))]
    exports = stage.folder / "environment.sh"
    exports.touch(mode=0o600)
    commands = shlex.quote(str(Path(sys.executable).parent))
    lines = [
        f'export PATH={commands}:"$PATH"',
        *(f"export {name}={shlex.quote(stage.environ[name])}" for name in names),
    ]
    exports.write_text("\n".join(lines) + "\n", encoding="utf-8")
    say(
        f"\nIt stays up until Ctrl-C. Post to {stage.ingress}/hooks/github (stripe, slack, standard);\n"
        f"the secrets are in {exports}. In another terminal:\n\n"
        f"  . {exports}\n"
        "  relay send github --type push --count 3\n"
        "  relay status\n"
        "  relay events\n"
        "  relay deliveries --state pending\n"
        f"  tail -f {stage.log}\n"
    )
    while True:
        signal.pause()
