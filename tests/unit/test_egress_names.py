"""Attempts on hosts whose name or certificate is wrong, with a name server and certificates of our own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from relay.egress import Egress
from relay.model import Outcome
from tests.unit.egress_helpers import OK, answering, attempt, listening, rules

NXDOMAIN = b"\x81\x83"


class NameServer(asyncio.DatagramProtocol):
    """Says NXDOMAIN to every question, or nothing at all."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self.questions = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Return the question as it came, with the flags of an answer."""
        self.questions += 1
        if not self._silent:
            self._transport.sendto(data[:2] + NXDOMAIN + data[4:], addr)


@asynccontextmanager
async def egress_by(server: NameServer) -> AsyncIterator[Egress]:
    """An egress that asks this name server."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        port = transport.get_extra_info("sockname")[1]
        async with Egress(rules(), nameservers=[f"127.0.0.1:{port}"]) as egress:
            yield egress
    finally:
        transport.close()


async def test_an_unknown_name_is_a_dns_error() -> None:
    """A name that does not exist is its own outcome, with the host and nothing else of the URL."""
    server = NameServer(silent=False)
    async with egress_by(server) as egress:
        result = await attempt(egress, "http://u:hush@gone.example/hush?hush")
    assert server.questions > 0
    assert result.outcome is Outcome.DNS_ERROR
    assert result.error is not None
    assert result.error.startswith("gone.example: ")
    assert "hush" not in result.error


async def test_a_slow_name_server_delays_nobody_else() -> None:
    """While a name is asked for in vain the others get through, and the deadline ends the asking."""
    async with egress_by(NameServer(silent=True)) as egress, listening(answering(OK)) as server:
        slow = asyncio.create_task(attempt(egress, "http://slow.example/", total=0.5))
        for _ in range(20):
            assert (await attempt(egress, server.url)).outcome is Outcome.DELIVERED
        assert not slow.done()
        result = await slow
    assert (result.outcome, result.error) == (Outcome.TIMEOUT, "not finished within 0.5 s")


async def test_a_name_that_takes_too_long_counts_as_connecting() -> None:
    """The deadline on connecting covers the name too."""
    async with egress_by(NameServer(silent=True)) as egress:
        result = await attempt(egress, "http://slow.example/", connect=0.1, total=30.0)
    assert (result.outcome, result.error) == (Outcome.TIMEOUT, "connect timeout")


def certificate(folder: Path, *, host: str, days: int) -> Path:
    """A certificate that signs itself, for this host and until this many days from now, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    until = datetime.now(UTC) + timedelta(days=days)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - timedelta(days=100))
        .not_valid_after(until)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.mark.parametrize(
    ("host", "days", "trusted", "reason"),
    [
        ("localhost", 10, True, None),
        ("localhost", 10, False, "self-signed certificate"),
        ("localhost", -10, True, "certificate has expired"),
        ("other.example", 10, True, "Hostname mismatch"),
    ],
)
async def test_only_a_good_certificate_gets_the_event(
    tmp_path: Path, host: str, days: int, *, trusted: bool, reason: str | None
) -> None:
    """Self-signed, expired and made out to another are each a TLS error, and nothing is sent."""
    pem = certificate(tmp_path, host=host, days=days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    trust = ssl.create_default_context(cafile=str(pem)) if trusted else None
    async with (
        listening(answering(OK), context=context) as server,
        Egress(rules(), tls=trust) as egress,
    ):
        result = await attempt(egress, f"https://localhost:{server.port}/hush")
    if reason is None:
        assert result.outcome is Outcome.DELIVERED
        return
    assert result.outcome is Outcome.TLS_ERROR
    assert result.error is not None
    assert result.error.startswith(f"localhost:{server.port}: certificate not accepted: {reason}")
    assert "hush" not in result.error
    assert server.bodies == []


async def test_a_host_that_speaks_no_tls_is_a_tls_error() -> None:
    """Plain HTTP behind an https URL is an error of TLS, and nothing is sent in the clear."""

    async def handle(_: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"{}" not in await reader.read(1000)
        writer.write(OK)
        await writer.drain()

    async with listening(handle) as server, Egress(rules()) as egress:
        result = await attempt(egress, f"https://127.0.0.1:{server.port}/")
    assert (result.outcome, result.error) == (
        Outcome.TLS_ERROR,
        f"127.0.0.1:{server.port}: wrong version number",
    )
