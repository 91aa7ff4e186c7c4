"""An SMTP server under the test's command, in a process of its own, since aiosmtpd warns of much."""

from __future__ import annotations

import asyncio
import contextlib
import email
import email.policy
import json
import ssl
import subprocess
import sys
import warnings
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from tests.support.certificates import Pair
from tests.support.ending import end, ended_on_failure
from tests.support.http import free_port
from tests.support.wait import eventually

ROOT = Path(__file__).parents[2]


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
                [sys.executable, "-m", "tests.support.mailbox", json.dumps(self._options)],
                cwd=ROOT,
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


async def serve(options: dict[str, Any]) -> None:
    """Be the server, until the process is ended: a line for each message, after one when it is ready."""
    # Here and not above: no test is to import it, since it warns.
    from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session  # noqa: PLC0415

    replies = list(options["replies"])

    class Handler:
        async def handle_RCPT(  # noqa: N802 - aiosmtpd's own
            self, server: SMTP, session: Session, envelope: Envelope, address: str, rcpt_options: list[str]
        ) -> str:
            if address in options["refuse"]:
                return "550 5.1.1 no such mailbox"
            envelope.rcpt_tos.append(address)
            return "250 2.1.5 ok"

        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
            reply = replies.pop(0) if replies else "250 2.0.0 Ok: queued as TEST"
            line = {
                "accepted": reply.startswith("250"),
                "sender": envelope.mail_from,
                "recipients": envelope.rcpt_tos,
                "raw": bytes(envelope.original_content or b"").decode("latin-1"),
                "tls": session.ssl is not None or options["implicit"],
                "login": session.auth_data if isinstance(session.auth_data, str) else None,
            }
            print(json.dumps(line), flush=True)  # noqa: T201 - to the file that is read
            return reply

    def authenticate(
        server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
    ) -> AuthResult:
        given = [data.login.decode(), data.password.decode()]
        return AuthResult(success=given == options["login"], handled=False, auth_data=given[0])

    context = None
    if options["certificate"]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*options["certificate"])

    def connected() -> SMTP:
        return SMTP(
            Handler(),
            tls_context=None if options["implicit"] else context,
            authenticator=authenticate if options["login"] else None,
            auth_required=bool(options["login"]),
            auth_require_tls=context is not None and not options["implicit"],
            enable_SMTPUTF8=True,
            loop=asyncio.get_running_loop(),
        )

    listener = await asyncio.get_running_loop().create_server(
        connected, "127.0.0.1", options["port"], ssl=context if options["implicit"] else None
    )
    print("{}", flush=True)  # noqa: T201 - likewise
    await listener.serve_forever()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(json.loads(sys.argv[1])))
