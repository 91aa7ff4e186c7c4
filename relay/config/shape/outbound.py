"""The shape of what a destination is: how Relay is known to an API, a mailbox, a task of Celery."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    WithJsonSchema,
    model_validator,
)

from relay.config.shape.addresses import Url, extra_name
from relay.config.shape.base import Model, Text, distinct
from relay.config.shape.scalars import Bool, OneOrMany, Wrong, is_unset, reads, shown, unless_unset
from relay.config.shape.urls import Broker, MailTls, Smtp
from relay.config.shape.verify import Secrets
from relay.config.yaml.interpolate import STAND_IN
from relay.errors import UsageError
from relay.signatures import Scheme, build

_ADDRESS = re.compile(r"[^\s@<>()\[\]\\,;:\"]+@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_LONGEST_ADDRESS = 254


def _secret(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if not text:
        raise Wrong("expected a secret that is not empty")
    if not text.isprintable():
        raise Wrong("a secret has no line breaks or control characters")
    return secret


def _user(text: str) -> str:
    if ":" in text or not text.isprintable():
        raise Wrong("a user name has no colon and no control characters")
    return text


def _address(value: object) -> str:
    if isinstance(value, str) and _ADDRESS.fullmatch(value) and len(value) <= _LONGEST_ADDRESS:
        return str(value)
    raise Wrong(f"expected an address such as ops@example.com, found {shown(value)}")


def _task(text: str) -> str:
    if not re.fullmatch(r"[^\s]+", text):
        raise Wrong("expected the name of a task such as reports.tasks.build")
    return text


Secret = Annotated[SecretStr, AfterValidator(_secret)]
OwnHeader = Annotated[str, reads(extra_name, "unset"), WithJsonSchema({"type": "string"})]
Address = Annotated[str, reads(_address, "unset@unset.invalid"), WithJsonSchema({"type": "string"})]


class BearerAuth(Model):
    """A token in `Authorization: Bearer`."""

    type: Literal["bearer"]
    """A fixed token."""
    token: Secret
    """The token."""


class BasicAuth(Model):
    """A user name and password in `Authorization: Basic`."""

    type: Literal["basic"]
    """A user name and password."""
    username: Annotated[Text, AfterValidator(_user)]
    """The user's name."""
    password: Secret
    """The password."""


class ApiKeyAuth(Model):
    """A key in a header or in the query."""

    type: Literal["api-key"]
    """A key in a place of its own."""
    header: OwnHeader | None = None
    """The header with the key."""
    query: Text | None = None
    """The query parameter with the key."""
    value: Secret
    """The key."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.header is None and self.query is None:
            raise Wrong("expected `header` or `query`, where the key goes")
        if self.header is not None and self.query is not None:
            raise Wrong("`header` and `query` exclude each other", at="query")
        return self


class OAuth2Auth(Model):
    """A token by client credentials: fetched when needed, and again before it expires."""

    type: Literal["oauth2"]
    """Client credentials."""
    token_url: Url
    """Where tokens are had."""
    client_id: Text
    """The client's name."""
    client_secret: Secret
    """The client's secret."""
    scope: Text | None = None
    """The scopes, with spaces between them."""


def _auth(value: object) -> object:
    if isinstance(value, dict):
        return value
    raise Wrong(f'expected a mapping such as {{type: bearer, token: "${{…}}"}}, found {shown(value)}')


Auth = Annotated[
    Annotated[BearerAuth | BasicAuth | ApiKeyAuth | OAuth2Auth, Field(discriminator="type")],
    BeforeValidator(_auth),
]


class _Signing(Model):
    """Headers by which the API can tell that a request is Relay's."""

    secrets: Secrets
    """The secrets."""

    def options(self) -> dict[str, Any]:
        """The options of the scheme, without its secrets."""
        written = self.model_fields_set - {"scheme", "secrets"}
        return {name: getattr(self, name) for name in written}

    def build(self) -> tuple[Scheme, ...]:
        """One scheme for each secret; Wrong where one of them cannot sign."""
        return tuple(self._one(index, secret) for index, secret in enumerate(self.secrets))

    def _one(self, index: int, secret: SecretStr) -> Scheme:
        name, text = self.__class__.model_fields["scheme"].annotation, secret.get_secret_value()
        kind = name.__args__[0] if name is not None else ""
        key = STAND_IN if STAND_IN in text else text  # of several variables, or with a text beside it
        try:
            scheme = build(kind, {**self.options(), "secrets": [key.encode()]})
            scheme.sign(b"", now=0.0, event_id="evt_0", url=_SAMPLE)
        except (ValueError, UsageError) as error:
            complaint = (
                str(error).replace("the first secret", "this secret").replace("secret 1", "this secret")
            )
            told = complaint if text not in complaint else f"this cannot sign as {kind}"
            raise Wrong(told, at=("secrets", index) if "secret" in complaint else ()) from None
        return scheme

    @model_validator(mode="after")
    def _builds(self) -> Self:
        self.build()
        return self


_SAMPLE = "https://relay.invalid/"


class StandardWebhooksSign(_Signing):
    """webhook-id, webhook-timestamp and webhook-signature; several secrets sign side by side."""

    scheme: Literal["standard-webhooks"]
    """As standardwebhooks.com says."""


class HmacSign(_Signing):
    """An HMAC in one header, as `verify` of `hmac` reads it."""

    scheme: Literal["hmac"]
    """An HMAC and one header."""
    header: OwnHeader
    """The header with the signature."""
    algorithm: Annotated[Literal["sha1", "sha256", "sha512"], unless_unset("sha256")] = "sha256"
    """The hash."""
    encoding: Annotated[Literal["hex", "base64", "base64url"], unless_unset("hex")] = "hex"
    """How the digest is written."""
    prefix: str = ""
    """What stands before the digest."""
    signed: str = "{body}"
    """What is signed, over {body} {timestamp} {id} {url} {method}."""
    timestamp_header: OwnHeader | None = None
    """The header for the time, in Unix seconds, for {timestamp}."""
    id_header: OwnHeader | None = None
    """The header for the delivery's id, for {id}."""

    @model_validator(mode="before")
    @classmethod
    def _stand_in(cls, value: Any) -> Any:
        """In place of what is signed, while nobody knows it: what goes with the headers that are named."""
        if not isinstance(value, dict) or not is_unset(value.get("signed")):
            return value
        parts = (f"{{{part}}}" for part in ("timestamp", "id") if value.get(f"{part}_header") is not None)
        return {**value, "signed": "".join(("{body}", *parts))}

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if len(self.secrets) > 1:
            raise Wrong(f"hmac signs by one secret, found {len(self.secrets)}", at="secrets")
        return self


def _sign(value: object) -> object:
    if isinstance(value, dict):
        return value
    raise Wrong(
        f'expected a mapping such as {{scheme: standard-webhooks, secrets: "${{…}}"}}, found {shown(value)}'
    )


Sign = Annotated[
    Annotated[StandardWebhooksSign | HmacSign, Field(discriminator="scheme")], BeforeValidator(_sign)
]


class Tls(Model):
    """Certificates in PEM files; paths are from the folder of the YAML file."""

    ca: Text | None = None
    """The certificates that the server's must lead to, in place of the machine's own."""
    cert: Text | None = None
    """Relay's own certificate, with those between it and its authority."""
    key: Text | None = None
    """The key of `cert`, where it is not in the same file."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.ca is None and self.cert is None and self.key is None:
            raise Wrong("expected `ca`, or `cert` and `key`")
        if self.key is not None and self.cert is None:
            raise Wrong("a `key` goes with its `cert`", at="key")
        return self


class Email(Model):
    """Mail to people: subject and text of a route's transform, else a summary and the body."""

    to: Annotated[tuple[Address, ...], OneOrMany(), AfterValidator(distinct)]
    """One or more addresses."""
    sender: Annotated[Address, Field(alias="from")]
    """The address that it is from."""
    smtp: Smtp
    """smtp://user:password@host:port, or smtps://…"""
    starttls: Bool | None = None
    """Whether smtp:// goes on by TLS before anything is told."""

    @property
    def tls(self) -> MailTls:
        """How the connection is secured."""
        if self.smtp.implicit_tls:
            return "implicit"
        return "starttls" if self.starttls else "none"

    @model_validator(mode="after")
    def _safe(self) -> Self:
        if self.smtp.implicit_tls and self.starttls:
            raise Wrong("smtps:// is TLS from its first byte: take `starttls` out", at="starttls")
        exposed = self.smtp.password is not None and not self.smtp.is_local and self.tls == "none"
        if exposed and self.starttls is None:
            raise Wrong("the password would go unencrypted: write `starttls: true`, or smtps://", at="smtp")
        return self


class Celery(Model):
    """A task called with `event`, `body` and `delivery`."""

    broker: Broker
    """The broker's URL."""
    task: Annotated[Text, AfterValidator(_task)]
    """The task's name, such as reports.tasks.build."""
    queue: Text | None = None
    """The queue; Celery's own default unless written."""
    encoding: Annotated[Literal["text", "base64"], unless_unset("text")] = "text"
    """How the body is handed over."""
