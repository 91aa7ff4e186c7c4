"""The real service as a process of its own, on a journal and ports of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.support import forked
from tests.support.http import Response, free_port, post, request
from tests.support.journals import prepare
from tests.support.wait import eventually

READY_WITHIN = 20.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


class RelayProcess:
    """`relay serve` on a configuration text; everything of it lives in `folder`.

    wrapper  a command in front of it, such as strace with its options
    flags    of `serve`
    true     started as a user would start it, and not forked (`tests.support.template`)
    env      more of its environment; RELAY_* of the test's own environment does not reach it
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        env: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
        flags: Sequence[str] = (),
        journal: str | None = None,
        true: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "relay.yaml"
        self.config.write_text(config)
        self.journal = journal or f"sqlite:///{folder / 'relay.db'}"
        self.port = free_port()
        self.admin_port = free_port()
        self._env = dict(env or {})
        self._wrapper = tuple(wrapper)
        self._flags = tuple(flags)
        self._true = true or bool(wrapper)
        self._process: subprocess.Popen[bytes] | forked.Forked | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The ingress, without a path."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin_url(self) -> str:
        """The operator listener, without a path."""
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def pid(self) -> int:
        """The service's own process, behind the wrapper if there is one."""
        assert self._process is not None, "the service was not started"
        pid = self._process.pid
        if not self._wrapper:
            return pid
        return eventually(lambda: _first_child(pid))

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def environ(self) -> dict[str, str]:
        """What the service and its commands find in their environment."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        return inherited | {
            "RELAY_CONFIG": str(self.config),
            "RELAY_JOURNAL": self.journal,
            "RELAY_HOST": "127.0.0.1",
            "RELAY_PORT": str(self.port),
            "RELAY_ADMIN_HOST": "127.0.0.1",
            "RELAY_ADMIN_PORT": str(self.admin_port),
            "RELAY_LOG_FORMAT": "json",
            **self._env,
        }

    def start(self, *, ready: bool = True, timeout: float = READY_WITHIN) -> Self:
        """Start the service, and wait until it says that it is ready unless told not to."""
        assert not self.running, "the service runs already"
        self._runs += 1
        with self._output("out").open("wb") as out, self._output("err").open("wb") as err:
            self._process = self._begin(out.fileno(), err.fileno())
        if ready:
            self.wait_ready(timeout=timeout)
        return self

    def _begin(self, out: int, err: int) -> subprocess.Popen[bytes] | forked.Forked:
        if self._true or not forked.serves(self.environ):
            return subprocess.Popen(
                [*self._wrapper, *_command("serve", *self._flags)],
                env=self.environ,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        if self._runs == 1:
            self._spare_making()
        with Path(os.devnull).open("rb") as nothing:
            return forked.template().start(
                ["serve", *self._flags],
                environ=self.environ,
                folder=self.folder,
                stdin=nothing.fileno(),
                stdout=out,
                stderr=err,
            )

    def _spare_making(self) -> None:
        """Put a new journal where none is yet; starts as users make them make its tables too."""
        path = self.folder / "relay.db"
        if self.journal == f"sqlite:///{path}" and not list(self.folder.glob("relay.db*")):
            prepare(path)

    def wait_ready(self, *, timeout: float = READY_WITHIN) -> None:
        """Wait for /readyz to answer 200; AssertionError with what the service wrote if it does not."""

        def is_ready() -> bool:
            assert self.running, f"the service ended early:\n{self.output()}"
            try:
                return request("GET", f"{self.url}/readyz", timeout=5).status == 200
            except OSError:
                return False

        eventually(is_ready, timeout=timeout, describe=self.output)

    def restart(self, *, ready: bool = True) -> Self:
        """Start again on the same journal and ports, ending the old process first if it still runs."""
        if self.running:
            self.term()
        return self.start(ready=ready)

    def kill9(self) -> None:
        """End the process as a crash would, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        self._wait(10)

    def term(self, *, timeout: float = 40.0) -> int:
        """Ask the process to drain and end; its exit code."""
        if self.running:
            self.signal(signal.SIGTERM)
        return self._wait(timeout)

    def signal(self, number: signal.Signals) -> None:
        """Send the service itself a signal, not its wrapper."""
        os.kill(self.pid, number)

    def wait_exit(self, *, timeout: float = READY_WITHIN) -> Ended:
        """How the process ended by itself, with what it wrote in this run."""
        code = self._wait(timeout)
        return Ended(code, self._output("out").read_text(), self._output("err").read_text())

    def close(self) -> None:
        """End whatever is left of the process and its children; safe to call twice."""
        if self._process is None:
            return
        if self.running:
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired, ProcessLookupError):
                self.term(timeout=5)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._process = None

    def post(
        self,
        path: str,
        body: bytes | str = b"{}",
        *,
        headers: Sequence[tuple[str | bytes, str | bytes]] = (("Content-Type", "application/json"),),
        timeout: float = 10.0,
    ) -> Response:
        """Post to /hooks/`path` of the ingress."""
        return post(f"{self.url}/hooks/{path}", body, headers=headers, timeout=timeout)

    def get(self, path: str, *, admin: bool = False) -> Response:
        """Get a page of the ingress, or of the operator listener."""
        return request("GET", f"{self.admin_url if admin else self.url}{path}")

    def cli(self, *args: str, check: bool = True, timeout: float = 60.0, stdin: str = "") -> Ended:
        """Run `relay ARGS` on the same configuration and journal; unless told not to, expect exit code 0."""
        if forked.serves(self.environ):
            result = Ended(
                *forked.run(args, environ=self.environ, folder=self.folder, stdin=stdin, timeout=timeout)
            )
        else:
            result = self._run(args, stdin=stdin, timeout=timeout)
        assert not check or result.code == 0, (
            f"relay {' '.join(args)} ended {result.code}:\n{result.out}{result.err}"
        )
        return result

    def _run(self, args: Sequence[str], *, stdin: str, timeout: float) -> Ended:
        ended = subprocess.run(
            _command(*args),
            env=self.environ,
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    @property
    def logs(self) -> list[dict[str, Any]]:
        """Every JSON line that was logged so far, over all runs of this service."""
        lines = [line for run in range(1, self._runs + 1) for line in _lines(self._output("out", run))]
        return [json.loads(line) for line in lines if line.startswith("{")]

    def log(self, event: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of one event whose fields are as given."""
        return [
            line
            for line in self.logs
            if line.get("event") == event and all(line.get(key) == value for key, value in fields.items())
        ]

    def wait_log(
        self, event: str, count: int = 1, *, timeout: float = 15.0, **fields: object
    ) -> list[dict[str, Any]]:
        """The log lines of one event once there are `count` of them."""

        def found() -> list[dict[str, Any]]:
            lines = self.log(event, **fields)
            return lines if len(lines) >= count else []

        return eventually(
            found, timeout=timeout, describe=lambda: f"{count} x {event} {fields}\n{self.output()}"
        )

    def output(self) -> str:
        """The end of what the newest run wrote, for a failing test's message."""
        return "\n".join(
            ["--- out", *_lines(self._output("out"))[-30:], "--- err", *_lines(self._output("err"))[-30:]]
        )

    @property
    def rss(self) -> int:
        """Resident memory of the service, in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def _output(self, kind: str, run: int | None = None) -> Path:
        return self.folder / f"serve-{run or self._runs}.{kind}"

    def _wait(self, timeout: float) -> int:
        assert self._process is not None, "the service was not started"
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the service did not end within {timeout} s:\n{self.output()}") from None


def start_together(relays: Sequence[RelayProcess], *, timeout: float = 60.0) -> Sequence[RelayProcess]:
    """Start services side by side, and wait until all are ready."""
    for relay in relays:
        relay.start(ready=False)
    for relay in relays:
        relay.wait_ready(timeout=timeout)
    return relays


def _command(*args: str) -> list[str]:
    return [sys.executable, "-m", "relay", *args]


def _lines(path: Path) -> list[str]:
    """The lines that were written to their end: the reader may come in the middle of a write."""
    text = path.read_text(errors="replace") if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _first_child(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None
