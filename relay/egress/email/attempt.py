"""One attempt by email: one message to one SMTP server, exactly one outcome back.

A reply of the server is a status like an HTTP one: where it refuses, the outcome is `http_status` with
the SMTP code, 4xx for now and 5xx for good. Both are tried again as the destination's `retry` says, since
an operator may mend a mailbox as well as an API; `give_up_on: [550]` ends it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from relay.config.model import Email, Timeout
from relay.egress.attempt_input import AttemptInput
from relay.egress.dial.connect import UnknownName, dial
from relay.egress.dial.guard import BlockedAddress, Guard
from relay.egress.email.message import write_letter
from relay.egress.result import Result
from relay.egress.words import escape, system_words
from relay.model import Outcome

if TYPE_CHECKING:
    import aiosmtplib

_KEPT = 4 * 1024
_GOODBYE = 2.0
_ACCEPTED = 250


@dataclass(slots=True)
class _Answer:
    """What the server said to the message; filled while the deadline runs."""

    reply: str | None = None
    note: str | None = None


async def send(
    email: Email,
    attempt_input: AttemptInput,
    *,
    timeout: Timeout,  # noqa: ASYNC109 - two deadlines in one value, kept by asyncio.timeout below
    guard: Guard,
) -> Result:
    """Hand one message to the server and return how it went; raises nothing but `CancelledError`."""
    answer = _Answer()
    result: Result | None = None
    try:
        async with asyncio.timeout(timeout.total):
            letter = await asyncio.to_thread(write_letter, email, attempt_input, now=datetime.now(UTC))
            await _exchange(email, letter, timeout.connect, guard, answer)
    except TimeoutError as error:
        words = error.strerror or f"not finished within {timeout.total:g} s"
        result = Result(outcome=Outcome.TIMEOUT, error=words)
    except Exception as error:  # noqa: BLE001 - whatever it is, this delivery has to go on
        result = _failed(error, email)
    if answer.reply is not None:
        return Result(
            outcome=Outcome.DELIVERED,
            status=_ACCEPTED,
            response=answer.reply.encode("utf-8", "replace")[:_KEPT],
            note=answer.note,
        )
    return result or Result(outcome=Outcome.READ_ERROR, error="no answer")


async def _exchange(
    email: Email, letter: bytes, connect: float | None, guard: Guard, answer: _Answer
) -> None:
    """Dial, log in, send, and say goodbye; once the message is accepted, nothing undoes that."""
    import aiosmtplib  # noqa: PLC0415 - only who sends email pays for it

    connection = await dial(email.host, email.port, connect, guard)
    client = aiosmtplib.SMTP(
        hostname=email.host,
        sock=connection,
        timeout=None,
        use_tls=email.tls == "implicit",
        start_tls=email.tls == "starttls",
        username=email.username,
        password=email.password,
        local_hostname=_own_name(),
    )
    transport: asyncio.WriteTransport | None = None
    try:
        await client.connect()
        transport = cast(asyncio.WriteTransport, client.transport)
        refused, answer.reply = await client.sendmail(email.sender, list(email.to), letter)
        if refused:
            told = (f"{address} ({code} {text})" for address, (code, text) in refused.items())
            answer.note = escape(f"refused: {', '.join(told)}")
        with contextlib.suppress(aiosmtplib.SMTPException, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await client.quit()
    finally:
        client.close()
        if transport is not None:
            transport.abort()  # TLS would wait half a minute for the other side's goodbye
        await asyncio.sleep(0)  # the loop's turn in which a transport lets go of its socket
        connection.close()


def _own_name() -> str:
    """The name that the server is greeted by; one without blanks, whatever the machine is called."""
    return "".join(socket.gethostname().split()) or "localhost"


def _failed(error: Exception, email: Email) -> Result:
    """Name an error by what the server or the system said; the place is told by host and port."""
    import aiosmtplib  # noqa: PLC0415 - only who sends email pays for it

    place = f"{email.host}:{email.port}"
    match error:
        case aiosmtplib.SMTPRecipientsRefused() if error.recipients:
            # Where one may be accepted later, all are tried again later.
            return _refusal(min(error.recipients, key=lambda one: one.code))
        case aiosmtplib.SMTPResponseException():
            return _refusal(error)
        case BlockedAddress():
            outcome, text = Outcome.BLOCKED_ADDRESS, str(error)
        case UnknownName():
            outcome, text = Outcome.DNS_ERROR, f"{email.host}: {error}"
        case _ if (tls := _tls_words(error)) is not None:
            outcome, text = Outcome.TLS_ERROR, f"{place}: {tls}"
        case aiosmtplib.SMTPServerDisconnected():
            outcome, text = Outcome.READ_ERROR, f"{place}: the connection was closed without an answer"
        case aiosmtplib.SMTPException():
            outcome, text = Outcome.CONNECT_ERROR, f"{place}: {error.message}"
        case OSError():
            outcome, text = Outcome.CONNECT_ERROR, f"{place}: {system_words(error)}"
        case _:
            outcome, text = Outcome.READ_ERROR, f"unexpected {type(error).__name__}"
    return Result(outcome=outcome, error=escape(text))


def _refusal(error: aiosmtplib.SMTPResponseException) -> Result:
    """A reply that says no; one that is no SMTP has a code below 100."""
    text = escape(f"SMTP {error.code}: {error.message}")
    if error.code < 100:  # noqa: PLR2004
        return Result(outcome=Outcome.READ_ERROR, error="the answer is no SMTP")
    return Result(
        outcome=Outcome.HTTP_STATUS,
        status=error.code,
        error=text,
        response=error.message.encode("utf-8", "replace")[:_KEPT],
    )


def _tls_words(error: BaseException) -> str | None:
    """OpenSSL's words where TLS did not come about."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return (cause.reason or "TLS failed").replace("_", " ").lower()
        if "STARTTLS extension not supported" in str(cause):
            return "the server offers no STARTTLS"
        cause = cause.__cause__
    return None
