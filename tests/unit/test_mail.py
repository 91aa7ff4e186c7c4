"""Attempts by email, against a real SMTP server: what it gets, and what each of its answers becomes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from relay.config import EgressRules, Timeout
from relay.egress.attempt_input import AttemptInput
from relay.egress.dial.guard import Guard
from relay.egress.email import attempt as mail
from relay.egress.result import Result
from relay.model import Outcome
from tests.support import free_port
from tests.support.certificates import Authority, Pair
from tests.support.mailbox import Mailbox
from tests.unit.egress_helpers import Server, listening
from tests.unit.letters import email_to, parcel_of

ANYWHERE = EgressRules(deny=(), allow=(), proxy=None)


async def send(
    port: int,
    attempt_input: AttemptInput | None = None,
    *,
    rules: EgressRules = ANYWHERE,
    total: float = 20.0,
    **more: Any,
) -> Result:
    """Try once."""
    connect = more.pop("connect", None)
    return await mail.send(
        email_to(port, **more),
        attempt_input or parcel_of(),
        timeout=Timeout(connect=connect, total=total),
        guard=Guard(rules),
    )


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """A certificate for `localhost` by an authority that this machine trusts."""
    authority = Authority(tmp_path / "tls")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    return authority.issue("localhost")


async def test_a_message_is_handed_over(tmp_path: Path) -> None:
    """Every recipient gets it in one go, and the server's reply is kept."""
    with Mailbox(tmp_path) as mailbox:
        result = await send(mailbox.port, to=("a@example.com", "Bea <b@example.com>"))
        assert (result.outcome, result.status) == (Outcome.DELIVERED, 250)
        assert result.response == b"2.0.0 Ok: queued as TEST"
        (letter,) = mailbox.wait(1)
    assert letter.sender == "relay@example.com"
    assert letter.recipients == ("a@example.com", "b@example.com")
    assert letter.message["Subject"] == "stripe: invoice.paid"
    assert not letter.tls


async def test_attempts_at_one_delivery_carry_one_message_id(tmp_path: Path) -> None:
    """A mailbox can tell the second attempt at a delivery from a second delivery."""
    with Mailbox(tmp_path, replies=("451 4.3.0 later",)) as mailbox:
        await send(mailbox.port)
        await send(mailbox.port, parcel_of(attempts=2))
        await send(mailbox.port, parcel_of(key="dlv_other"))
        mailbox.wait(2)
        ids = [raw.partition(b"Message-ID: ")[2].partition(b"\r\n")[0] for raw in mailbox.attempts]
    assert ids[0] == ids[1] == b"<dlv_1@example.com>"
    assert ids[2] == b"<dlv_other@example.com>"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_starttls_and_login(
    tmp_path: Path, trusted: Pair, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `starttls` the password goes out encrypted, to a host whose certificate is good for its name."""
    with Mailbox(tmp_path, certificate=trusted, login=("relay", "s3cret")) as mailbox:
        result = await send(mailbox.port, host=host, tls="starttls", username="relay", password="s3cret")
        if host == "127.0.0.1":
            assert result.outcome is Outcome.TLS_ERROR
            assert "certificate not accepted" in (result.error or "")
            assert mailbox.attempts == []
        else:
            assert result.outcome is Outcome.DELIVERED
            (letter,) = mailbox.wait(1)
            assert (letter.tls, letter.login) == (True, "relay")


async def test_tls_from_the_start(tmp_path: Path, trusted: Pair) -> None:
    """`smtps` speaks TLS before the first word."""
    with Mailbox(tmp_path, certificate=trusted, implicit=True) as mailbox:
        result = await send(mailbox.port, host="localhost", tls="implicit")
        assert result.outcome is Outcome.DELIVERED, result
        (letter,) = mailbox.wait(1)
    assert letter.tls


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path, tls: str) -> None:
    """Nothing is handed to a server that is not proved to be the one."""
    pair = Authority(tmp_path / "tls").issue("localhost", signed=False)
    with Mailbox(tmp_path, certificate=pair, implicit=tls == "implicit") as mailbox:
        result = await send(mailbox.port, host="localhost", tls=tls)
        assert result.outcome is Outcome.TLS_ERROR
        assert mailbox.attempts == []


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path) -> None:
    """What was to be encrypted is not sent in the clear, whoever took the offer out."""
    with Mailbox(tmp_path) as mailbox:
        result = await send(mailbox.port, tls="starttls", username="relay", password="canary")
        assert result.outcome is Outcome.TLS_ERROR
        assert "STARTTLS" in (result.error or "")
        assert mailbox.attempts == []


async def test_a_wrong_password_is_a_status(tmp_path: Path) -> None:
    """What the server says of it is kept, and the password is in no text."""
    with Mailbox(tmp_path, login=("relay", "s3cret")) as mailbox:
        result = await send(mailbox.port, username="relay", password="canary")
    assert (result.outcome, result.status) == (Outcome.HTTP_STATUS, 535)
    assert "canary" not in repr(result)


@pytest.mark.parametrize(
    ("reply", "status"),
    [("451 4.3.0 try again later", 451), ("552 5.2.2 mailbox full", 552), ("554 5.7.1 no \x1b[31mspam", 554)],
)
async def test_a_refusal_is_a_status_like_an_http_one(tmp_path: Path, reply: str, status: int) -> None:
    """4xx and 5xx of SMTP are statuses that `give_up_on` knows, with the server's words."""
    with Mailbox(tmp_path, replies=(reply,)) as mailbox:
        result = await send(mailbox.port)
    assert (result.outcome, result.status) == (Outcome.HTTP_STATUS, status)
    assert (result.error or "").startswith(f"SMTP {status}: ")
    assert (result.error or "").isprintable()


async def test_one_refused_recipient_is_a_note(tmp_path: Path) -> None:
    """A message that somebody got is delivered; who did not get it is noted."""
    with Mailbox(tmp_path, refuse=("gone@example.com",)) as mailbox:
        result = await send(mailbox.port, to=("gone@example.com", "ops@example.com"))
        (letter,) = mailbox.wait(1)
    assert result.outcome is Outcome.DELIVERED
    assert letter.recipients == ("ops@example.com",)
    assert "gone@example.com (550" in (result.note or "")


async def test_a_message_that_nobody_gets_is_refused(tmp_path: Path) -> None:
    """With every recipient refused, the outcome is their status."""
    with Mailbox(tmp_path, refuse=("ops@example.com",)) as mailbox:
        result = await send(mailbox.port)
        assert mailbox.attempts == []
    assert (result.outcome, result.status) == (Outcome.HTTP_STATUS, 550)


async def test_nobody_listens() -> None:
    """A port without a server is a connect error that names the place."""
    port = free_port()
    result = await send(port)
    assert result.outcome is Outcome.CONNECT_ERROR
    assert f"127.0.0.1:{port}" in (result.error or "")


async def test_a_name_that_is_none() -> None:
    """A host that cannot be resolved is a dns error that names it."""
    result = await send(25, host="no-such-host.invalid")
    assert result.outcome is Outcome.DNS_ERROR
    assert "no-such-host.invalid" in (result.error or "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_denied_address_is_not_dialled(host: str) -> None:
    """The rules of `egress` hold for mail as well, for what a name stands for too."""
    connections = 0

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    rules = EgressRules(deny=(ip_network("127.0.0.0/8"), ip_network("::1/128")), allow=(), proxy=None)
    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        result = await send(server.sockets[0].getsockname()[1], host=host, rules=rules)
    assert result.outcome is Outcome.BLOCKED_ADDRESS
    assert "is denied" in (result.error or "")
    assert connections == 0


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


@asynccontextmanager
async def server(talk: Talk) -> AsyncIterator[int]:
    """A server that says what the test wants said; its port."""

    async def handle(_: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await talk(reader, writer)

    async with listening(handle) as server:
        yield server.port


async def test_a_server_that_says_nothing_is_a_timeout() -> None:
    """The deadline holds for the whole attempt."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with server(silent) as port:
        result = await send(port, total=0.3)
    assert result.outcome is Outcome.TIMEOUT
    assert result.error == "not finished within 0.3 s"


async def test_a_server_that_hangs_up_is_a_read_error() -> None:
    """A connection that breaks in the talk is no answer."""

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.readline()

    async with server(rude) as port:
        result = await send(port)
    assert result.outcome is Outcome.READ_ERROR


async def test_what_is_no_smtp_is_a_read_error() -> None:
    """An HTTP server on that port is no mail server."""

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with server(web) as port:
        result = await send(port, total=5.0)
    assert result.outcome is Outcome.READ_ERROR, result


async def test_once_accepted_it_is_delivered() -> None:
    """A server that hangs after its 250 to the message has it; trying again would make it two."""

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                await reader.readuntil(b"\r\n.\r\n")
            if not line.startswith(b"QUIT"):
                writer.write(b"250 queued\r\n")

    async with server(hangs) as port:
        result = await send(port, total=1.0)
    assert (result.outcome, result.response) == (Outcome.DELIVERED, b"queued")


async def test_a_body_that_looks_like_smtp_stays_a_body(tmp_path: Path) -> None:
    """A dot alone on a line, and commands after it, arrive as text."""
    body = b"one\r\n.\r\nMAIL FROM:<evil@example.com>\r\n..two\n"
    with Mailbox(tmp_path) as mailbox:
        await send(mailbox.port, parcel_of(body=body))
        (letter,) = mailbox.wait(1)
    text = letter.message.get_content()
    assert "one\n.\nMAIL FROM:<evil@example.com>\n..two\n" in text.replace("\r\n", "\n")


async def test_cancelling_closes_the_connection() -> None:
    """An attempt that is given up leaves nothing open."""
    closed = asyncio.Event()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")
        await reader.read()
        closed.set()

    async with server(waits) as port:
        task = asyncio.create_task(send(port))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await closed.wait()


def test_the_system_trusts_what_the_environment_says(trusted: Pair) -> None:
    """The other tests of TLS rest on this."""
    assert ssl.create_default_context().cert_store_stats()["x509_ca"] == 1
