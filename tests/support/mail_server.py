"""The SMTP server of `Mailbox`, a program of its own: no test imports it, since aiosmtpd warns of much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session  # noqa: E402 - what it warns of is known


async def serve(options: dict[str, Any]) -> None:
    """Be the server, until the process is ended: a line for each message, after one when it is ready."""
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
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(json.loads(sys.argv[1])))
