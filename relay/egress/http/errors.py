"""What goes wrong on a connection, told as httpx tells it: with host and port, and never with the URL."""

from __future__ import annotations

import ssl

import aiohttp
import httpx

from relay.egress.words import system_words


class DnsError(httpx.ConnectError):
    """The name of the host could not be resolved."""


class TlsError(httpx.ConnectError):
    """The host was reached, but TLS did not come about: certificate, name or protocol."""


class BlockedError(httpx.ConnectError):
    """The host's address must not be dialled."""


class BrokenConnectionError(aiohttp.ClientError):
    """The connection broke before an answer came; the cause says how."""


class RefusedAnswerError(aiohttp.ClientError):
    """The server said more than an answer may hold; the text says of what."""


def translate(error: Exception) -> httpx.TransportError:  # noqa: C901, PLR0911 - a table
    """Find the httpx error that says the same."""
    match error:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout("connect timeout")
        case aiohttp.ClientConnectorDNSError():
            return DnsError(f"{error.host}: {error.os_error.strerror or 'cannot be resolved'}")
        case aiohttp.ClientConnectorCertificateError():
            return TlsError(f"{error.host}:{error.port}: {_tls_reason(error.certificate_error)}")
        case aiohttp.ClientProxyConnectionError():
            return httpx.ProxyError(f"proxy {error.host}:{error.port}: {_reason(error.os_error)}")
        case aiohttp.ClientConnectorError():
            kind = TlsError if isinstance(error, aiohttp.ClientSSLError) else httpx.ConnectError
            return kind(f"{error.host}:{error.port}: {_reason(error.os_error)}")
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return httpx.UnsupportedProtocol("the URL is no HTTP URL")
        case aiohttp.ClientHttpProxyError():
            return httpx.ProxyError(f"the proxy refused to connect: HTTP {error.status}")
        case RefusedAnswerError():
            return httpx.RemoteProtocolError(str(error))
        case aiohttp.ClientResponseError(message="Too many headers received"):
            return httpx.RemoteProtocolError("the answer has too many headers")
        case aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError("the answer is no HTTP")
        case aiohttp.ClientPayloadError():
            return httpx.ReadError("the body broke off")
        case _:
            return _broken(error)


def _broken(error: BaseException) -> httpx.TransportError:
    """Name what broke a connection that had been made; the innermost cause knows best."""
    while error.__cause__ is not None:
        error = error.__cause__
    match error:
        case ssl.SSLError():
            return TlsError(_tls_reason(error))
        case aiohttp.ServerDisconnectedError():
            return httpx.RemoteProtocolError("the connection was closed without an answer")
        case OSError():
            return httpx.ReadError(_reason(error))
        case _:
            return httpx.ReadError("the connection broke")


def _reason(error: OSError) -> str:
    """Return the operating system's words, or TLS's."""
    if isinstance(error, ssl.SSLError):
        return _tls_reason(error)
    return system_words(error)


def _tls_reason(error: Exception) -> str:
    """Return OpenSSL's words without its source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "TLS failed"
