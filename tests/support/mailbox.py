"""An SMTP server under the test's command, in a process of its own, since aiosmtpd warns of much."""

from __future__ import annotations

import email
import email.policy
import json
import subprocess
import sys
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from tests.support.certificates import Pair
from tests.support.ending import end, ended_on_failure
from tests.support.http import free_port
from tests.support.wait import eventually

SERVER = Path(__file__).with_name("mail_server.py")
"""Started by its path: it imports nothing of the tests, which would take four times as long."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that was accepted: its envelope, its bytes, and over what it came."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes
    tls: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        """The message, parsed."""
        message = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message


class Mailbox:
    """Takes mail on 127.0.0.1 and keeps it in `folder`; use it as a context manager.

    certificate  what it shows: STARTTLS is offered, or TLS spoken from the start (`implicit`)
    login        a user and password that senders must give
    replies      what it says to the first messages in place of 250, such as `451 4.3.0 later`
    refuse       recipients of which it knows nothing
    """

    def __init__(
        self,
        folder: Path,
        *,
        certificate: Pair | None = None,
        implicit: bool = False,
        login: tuple[str, str] | None = None,
        replies: tuple[str, ...] = (),
        refuse: tuple[str, ...] = (),
    ) -> None:
        self.port = free_port()
        self._folder = folder
        self._file = folder / f"mail-{self.port}.jsonl"
        self._options = {
            "port": self.port,
            "certificate": None if certificate is None else [str(certificate.cert), str(certificate.key)],
            "implicit": implicit,
            "login": login,
            "replies": replies,
            "refuse": refuse,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        log = self._folder / f"mail-{self.port}.log"
        with self._file.open("wb") as out, log.open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(SERVER), json.dumps(self._options)],
                stdout=out,
                stderr=err,
            )
        with ended_on_failure(self._process):
            eventually(lambda: self._file.read_text().startswith("{}"), describe=log.read_text)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        end(self._process)

    @property
    def attempts(self) -> list[bytes]:
        """Every message that came, those too that were not accepted."""
        return [line["raw"].encode("latin-1") for line in self._lines()]

    @property
    def letters(self) -> list[Letter]:
        """Every message that was accepted."""
        return [
            Letter(
                sender=line["sender"],
                recipients=tuple(line["recipients"]),
                raw=line["raw"].encode("latin-1"),
                tls=line["tls"],
                login=line["login"],
            )
            for line in self._lines()
            if line["accepted"]
        ]

    def wait(self, count: int, *, timeout: float = 15.0) -> list[Letter]:
        """The accepted messages once there are `count` of them."""
        return eventually(lambda: found if len(found := self.letters) >= count else None, timeout=timeout)

    def _lines(self) -> list[dict[str, Any]]:
        text = self._file.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()[1:]]
