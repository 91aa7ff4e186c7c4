"""URLs of other kinds than a plain http one: with holes, of a mail server, a broker, a proxy."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import WithJsonSchema

from relay.config.shape.addresses import check_host, url
from relay.config.shape.scalars import Wrong, like, reads_url, shown
from relay.config.yaml.nodes import Interpolated
from relay.expressions.scan import tokens

UNSET_URL: Final = "https://unset.invalid/"
"""What a URL is while a variable in it has no value."""

_BEFORE_PATH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*[/?]")
_FILLING = "x"
_SMTP_PORTS: Final = {"none": 25, "starttls": 587, "implicit": 465}
_TRANSPORTS: Final = (
    "amqp",
    "amqps",
    "azureservicebus",
    "azurestoragequeues",
    "confluentkafka",
    "consul",
    "etcd",
    "filesystem",
    "gcpubsub",
    "librabbitmq",
    "memory",
    "mongodb",
    "pyamqp",
    "qpid",
    "redis",
    "rediss",
    "sentinel",
    "sqla",
    "sqlalchemy",
    "sqs",
    "zookeeper",
)
"""The brokers that Celery's messaging library knows."""

MailTls = Literal["none", "starttls", "implicit"]


def template_url(value: object) -> str:
    """An http or https URL; holes may stand in its path and query, and nowhere before."""
    if not isinstance(value, str) or "{{" not in value:
        return url(value)
    text = str(value)
    first = text.find("{{")
    if not _BEFORE_PATH.match(text[:first]):
        message = "a hole may stand in the path and the query only: scheme, host and port are written out"
        raise Wrong(message)
    filled = _fill_holes(text)
    url(Interpolated(filled, written=value.written) if isinstance(value, Interpolated) else filled)
    return text


def _fill_holes(text: str) -> str:
    """The URL with a letter in place of every hole; one that is not closed is told by the compiler."""
    pieces, start = [], 0
    while (opening := text.find("{{", start)) >= 0:
        pieces += [text[start:opening], _FILLING]
        start = _end_of_hole(text, opening + 2)
    return "".join([*pieces, text[start:]])


def _end_of_hole(text: str, start: int) -> int:
    """Where the text goes on: not after a `}}` in a CEL string, nor after the braces of a CEL map."""
    depth = 0
    for token in tokens(text, start):
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0 and text.startswith("}}", token.offset):
                return token.offset + 2
            depth -= 1
    return len(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """An SMTP server as its URL names it; without a port, the one that its kind of TLS has."""

    host: str
    written_port: int | None
    implicit_tls: bool
    username: str | None
    password: str | None = field(repr=False)

    def port(self, tls: MailTls) -> int:
        """The port, by default that of the kind of TLS."""
        return self.written_port or _SMTP_PORTS[tls]

    @property
    def is_local(self) -> bool:
        """Whether what is sent there stays on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def mail_server(value: object) -> MailServer:
    """`smtp://user:password@host:port` or `smtps://…`; user and password are percent-encoded."""
    expected = "expected a mail server such as smtp://localhost:25 or smtps://user:password@mail.example.com"
    parts = _split(value, expected, ("smtp", "smtps"))
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise Wrong("a mail server's URL ends after its host and port; in a password, / ? # are %2F %3F %23")
    if (parts.username is None) != (parts.password is None):
        raise Wrong("expected a user name and a password, or neither")
    check_host(parts.hostname or "", bracketed="[" in parts.netloc, hidden=isinstance(value, Interpolated))
    return MailServer(
        host=parts.hostname or "",
        written_port=parts.port,
        implicit_tls=parts.scheme == "smtps",
        username=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def broker(value: object) -> str:
    """The URL of a message broker that Celery knows."""
    expected = "expected a broker such as redis://localhost:6379/0 or amqp://user:password@host//"
    if not isinstance(value, str):
        raise Wrong(f"{expected}, found {_found(value)}")
    scheme, mark, _ = value.partition("://")
    if not mark:
        raise Wrong(f"{expected}, found {_found(value)}")
    transport = scheme.partition("+")[0].lower()
    if transport not in _TRANSPORTS:
        close = None if isinstance(value, Interpolated) else like(transport, _TRANSPORTS)
        raise Wrong(f"{expected}, found {_found(value)}", nearest=close)
    return str(value)


def proxy(value: object) -> str:
    """`environment`, or the http URL of a proxy, with a user and password where it asks for them."""
    if value == "environment":
        return "environment"
    expected = "expected a proxy such as http://proxy.internal:3128, or `environment`"
    parts = _split(value, expected, ("http", "https"), ("environment",))
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise Wrong("a proxy's URL ends after its host and port")
    check_host(parts.hostname or "", bracketed="[" in parts.netloc, hidden=isinstance(value, Interpolated))
    return str(value)


def _split(
    value: object, expected: str, schemes: tuple[str, ...], words: tuple[str, ...] = ()
) -> SplitResult:
    """The parts of a URL with one of these schemes; the port is a good one, or none."""
    if not isinstance(value, str) or any(char.isspace() or not char.isprintable() for char in value):
        raise Wrong(f"{expected}, found {_found(value)}")
    try:
        parts = urlsplit(str(value))
        port = parts.port
    except ValueError:
        raise Wrong(f"{expected}; in a password, / ? # @ are %2F %3F %23 %40") from None
    if parts.scheme not in schemes or not parts.netloc:
        close = like(value, words) or (
            like(parts.scheme, schemes) if not isinstance(value, Interpolated) else None
        )
        raise Wrong(f"{expected}, found {_found(value)}", nearest=close)
    if port == 0:
        raise Wrong("expected a port from 1 to 65535")
    return parts


def _found(value: object) -> str:
    """A value for a message, without its user and its query: a password may be written out there."""
    return re.sub(r"\?.*\"$", '?…"', re.sub(r"^\".*@", '"…@', shown(value)))


TemplateUrl = Annotated[
    str,
    reads_url(template_url, UNSET_URL),
    WithJsonSchema({"type": "string", "pattern": r"^https?://|^.*\$\{"}),
]
Smtp = Annotated[
    MailServer, reads_url(mail_server, "smtp://localhost:25", keep=True), WithJsonSchema({"type": "string"})
]
Broker = Annotated[str, reads_url(broker, "memory://"), WithJsonSchema({"type": "string"})]
Proxy = Annotated[str, reads_url(proxy, "environment"), WithJsonSchema({"type": "string"})]
