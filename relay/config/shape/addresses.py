"""URLs, networks and header fields, refused where they could mean something else to whoever dials."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, WithJsonSchema

from relay.config.model import Network
from relay.config.shape.scalars import Wrong, literal, reads, reads_url, shown
from relay.config.yaml.nodes import Interpolated
from relay.config.yaml.report import nearest, quoted

_SCHEMES = ("https", "http")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_LONGEST_HOST = 253
_IPV4 = 4
_SPACE, _DELETE = 0x20, 0x7F

# Framing and identity are Relay's own, and so is what it adds to every delivery.
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "idempotency-key",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "traceparent",
        "upgrade",
    }
)


def url(value: object) -> str:
    """An absolute http or https URL whose host is a name, or an address in its plain spelling."""
    text = literal(value)
    if any(char.isspace() or not char.isprintable() for char in text) or "\\" in text:
        raise Wrong("a URL has no spaces, control characters or backslashes")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        detail = "" if isinstance(value, Interpolated) else f": {error}"
        raise Wrong(f"not a URL{detail}") from None
    if parts.scheme not in _SCHEMES or not text.lower().startswith(f"{parts.scheme}://"):
        _refuse_scheme(value, parts)
    if parts.username is not None or parts.password is not None:
        raise Wrong("no user name or password in the URL: send them in `headers`")
    if "#" in text:
        raise Wrong("a fragment (`#…`) is never sent: take it out, or write %23")
    if port == 0:
        raise Wrong("expected a port from 1 to 65535")
    check_host(parts.hostname or "", bracketed="[" in parts.netloc, hidden=isinstance(value, Interpolated))
    return text


def _refuse_scheme(value: object, parts: SplitResult) -> None:
    if isinstance(value, Interpolated):
        raise Wrong("expected a URL that begins with https:// or http://")
    close = nearest(parts.scheme, _SCHEMES) if parts.scheme else None
    raise Wrong(f"expected a URL that begins with https:// or http://, found {shown(value)}", nearest=close)


def check_host(host: str, *, bracketed: bool, hidden: bool) -> None:
    """Refuse a host that some resolvers read as another address than is written."""
    found = "" if hidden else f", found {quoted(host)}"
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise Wrong(f"expected an IPv6 address in the brackets{found}") from None
        if "%" in host:
            raise Wrong(f"no zone in an address{found}")
        return
    # Full-width digits and dots become plain ones on the way to the resolver.
    folded = unicodedata.normalize("NFKC", host).replace("\u3002", ".")
    if _looks_like_an_address(folded):
        plain = _plain_spelling(folded)
        if host != plain:
            raise Wrong(
                f"expected an address in its plain spelling{found}", nearest=None if hidden else plain
            )
        return
    try:
        name = host.encode("idna").decode().removesuffix(".") if host else ""
    except UnicodeError:
        name = ""
    if not name or len(name) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, name.split("."))):
        raise Wrong(f"expected a host name or an address{found}")


def _looks_like_an_address(host: str) -> bool:
    """The rule of the URL standard: the last label is a number, be it decimal, octal or hexadecimal."""
    last = host.removesuffix(".").rpartition(".")[2]
    return re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last, re.ASCII) is not None


def _plain_spelling(host: str) -> str | None:
    """The dotted quad that `inet_aton` makes of the host; None where it is no address at all."""
    labels = host.removesuffix(".").split(".")
    try:
        numbers = [_number(label) for label in labels]
    except ValueError:
        return None
    if len(numbers) > _IPV4 or any(number > 255 for number in numbers[:-1]):  # noqa: PLR2004
        return None
    rest = _IPV4 + 1 - len(numbers)
    if numbers[-1] >= 256**rest:
        return None
    packed = bytes(numbers[:-1]) + numbers[-1].to_bytes(rest, "big")
    return str(ipaddress.IPv4Address(packed))


def _number(label: str) -> int:
    if len(label) > 20:  # noqa: PLR2004  longer than any 32-bit number in any base
        raise ValueError(label)
    if label[:2].lower() == "0x":
        return int(label[2:] or "0", 16)
    return int(label, 8) if label.startswith("0") and len(label) > 1 else int(label)


def network(value: object) -> Network:
    """A network such as `10.0.0.0/8`, or one address."""
    if not isinstance(value, str):
        raise Wrong(f"expected a network such as 10.0.0.0/8, found {shown(value)}")
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        close: str | None = str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        close = None
    hidden = isinstance(value, Interpolated)
    raise Wrong(
        f"expected a network such as 10.0.0.0/8, found {shown(value)}", nearest=None if hidden else close
    )


def header_name(value: object) -> str:
    """The name of one header, as HTTP has it."""
    if isinstance(value, str) and _TOKEN.fullmatch(value):
        return str(value)
    raise Wrong(f"expected a header name, found {shown(value)}")


def extra_name(value: object) -> str:
    """The name of a header that a destination may add: none that Relay sets itself."""
    text = header_name(value)
    if text.lower() in _OURS or text.lower().startswith("relay-"):
        raise Wrong("this header is set by Relay itself")
    return text


def header_value(value: object) -> str:
    """The text of one header, on one line."""
    if not isinstance(value, str):
        raise Wrong(f"expected text, found {shown(value)}; put it in quotes")
    if any((ord(char) < _SPACE and char != "\t") or ord(char) == _DELETE for char in value):
        raise Wrong("a header holds no line breaks or control characters")
    if value != value.strip():
        raise Wrong("a header neither begins nor ends with a space")
    return str(value)


def extra_value(value: object) -> str:
    """The text of a header that is sent as it is."""
    return literal(header_value(value))


def each_once(fields: dict[str, str]) -> dict[str, str]:
    """Header names differ by more than their case."""
    seen: set[str] = set()
    for name in fields:
        if name.lower() in seen:
            raise Wrong(f"the header {quoted(name)} is there twice")
        seen.add(name.lower())
    return fields


def media_type(value: object) -> str:
    """A content type such as `application/json` or `text/plain; charset=utf-8`."""
    if isinstance(value, str) and re.fullmatch(
        r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(;[\x20-\x7e]*)?", value, re.ASCII
    ):
        return str(value)
    raise Wrong(f"expected a content type such as text/plain, found {shown(value)}")


Url = Annotated[
    str,
    reads_url(url, "https://unset.invalid/"),
    WithJsonSchema({"type": "string", "pattern": r"^https?://|^.*\$\{"}),
]
IpNetwork = Annotated[Network, reads(network, "127.0.0.0/8"), WithJsonSchema({"type": "string"})]
HeaderName = Annotated[str, reads(header_name, "unset"), WithJsonSchema({"type": "string"})]
MediaType = Annotated[str, reads(media_type, "text/plain"), WithJsonSchema({"type": "string"})]
ExtraHeaders = Annotated[
    dict[Annotated[str, reads(extra_name, "unset")], Annotated[str, reads(extra_value, "unset")]],
    AfterValidator(each_once),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
TemplateHeaders = Annotated[
    dict[Annotated[str, reads(extra_name, "unset")], Annotated[str, reads(header_value, "unset")]],
    AfterValidator(each_once),
    WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}}),
]
