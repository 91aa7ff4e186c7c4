"""Certificates of one's own: read when the file loads, so that a bad one is a mistake with its place."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from relay.config.shape.destinations import Destination
from relay.config.shape.scalars import Wrong, shown
from relay.config.yaml.fingerprint import Used
from relay.config.yaml.nodes import Interpolated, Leaf, Table, locate
from relay.config.yaml.report import Report

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_BIGGEST_FILE: Final = 1024 * 1024


def contexts(
    destinations: Mapping[str, Destination], root: Table, report: Report, used: Used, *, allow_unset: bool
) -> dict[str, ssl.SSLContext]:
    """What each destination with certificates of its own dials by; what is wrong with them is reported."""
    reader = _Reader(used, allow_unset)
    made: dict[str, ssl.SSLContext] = {}
    for name, destination in destinations.items():
        if destination.tls is None:
            continue
        tls, _, path = locate(root, ("destinations", name, "tls"))
        if not isinstance(tls, Table):
            continue
        try:
            context = reader.context(tls)
        except _Refused as refused:
            report.add(refused.leaf.place, str(refused), key=f"{path}.{refused.key}")
            continue
        if context is not None:
            made[name] = context
    return made


class _Refused(Wrong):
    """A file is not what its key takes."""

    def __init__(self, message: str, key: str, leaf: Leaf) -> None:
        super().__init__(message)
        self.key = key
        self.leaf = leaf


class _Absent(Exception):
    """A file is not there, or its name is not known, and that is allowed."""


@dataclass(frozen=True, slots=True)
class _Named:
    """One of the files: its key, the leaf that names it, where it is and what it holds."""

    key: str
    leaf: Leaf
    path: Path
    content: bytes = field(repr=False)

    def refused(self, problem: str) -> _Refused:
        return _Refused(f"the file {shown(self.leaf.value)} {problem}", self.key, self.leaf)


@dataclass(slots=True)
class _Reader:
    """Makes contexts; destinations with the same files share one, since each takes 10 ms to make."""

    used: Used
    allow_unset: bool
    made: dict[tuple[Path | None, ...], ssl.SSLContext] = field(default_factory=dict)

    def context(self, tls: Table) -> ssl.SSLContext | None:
        """The context that the files of a `tls` mapping make; None where they may be missing and are."""
        try:
            ca, cert, key = (self._file(tls, name) for name in ("ca", "cert", "key"))
        except _Absent:
            return None
        files = tuple(file.path if file else None for file in (ca, cert, key))
        if files not in self.made:
            self.made[files] = _context(ca, cert, key or cert)
        return self.made[files]

    def _file(self, tls: Table, key: str) -> _Named | None:
        leaf = tls.get(key)
        if not isinstance(leaf, Leaf) or not isinstance(leaf.value, str):
            return None
        if isinstance(leaf.value, Interpolated) and leaf.value.unset:
            raise _Absent
        path = Path(leaf.place.file).parent / str(leaf.value)
        self.used.files.append(path)
        try:
            with path.open("rb") as file:
                content = file.read(_BIGGEST_FILE)
        except (OSError, ValueError) as error:
            if self.allow_unset and isinstance(error, FileNotFoundError | PermissionError):
                raise _Absent from None
            known = isinstance(error, OSError) and error.errno
            reason = os.strerror(error.errno) if known else "no usable path"  # type: ignore[union-attr,arg-type]
            raise _Named(key, leaf, path, b"").refused(f"cannot be read: {reason}") from None
        self.used.add_value(content)
        return _Named(key, leaf, path, content)


def _context(ca: _Named | None, cert: _Named | None, key: _Named | None) -> ssl.SSLContext:
    if ca is None:
        context = ssl.create_default_context()
    else:
        _certificates(ca)
        context = ssl.create_default_context(cadata=ca.content.decode("utf-8", "replace"))
    if cert is not None and key is not None:
        _check_pair(_certificates(cert)[0], cert, key)
        context.load_cert_chain(cert.path, key.path, password=_no_password)
    return context


def _certificates(file: _Named) -> list[Certificate]:
    from cryptography import x509  # noqa: PLC0415 - costs 10 MB, used by few

    try:
        return x509.load_pem_x509_certificates(file.content)
    except ValueError:
        raise file.refused("has no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None


def _check_pair(certificate: Certificate, cert: _Named, key: _Named) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - as above
        Encoding,
        PublicFormat,
        load_pem_private_key,
    )

    try:
        private = load_pem_private_key(key.content, password=None)
    except TypeError:
        raise key.refused(
            "has a key with a passphrase, which nobody could type: store it without one"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        hint = ": name its file in `key`" if key is cert else ""
        raise key.refused(f"has no private key in PEM{hint}") from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise key.refused("has the key of another certificate than `cert`")


def _no_password() -> str:
    """In place of the question that OpenSSL would put to the terminal."""
    return ""
