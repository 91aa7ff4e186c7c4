"""Every provider of the table, by its name: those that sign, and those that show a plain secret."""

from __future__ import annotations

from typing import Final

from relay.signatures.greetings import okta_greeting
from relay.signatures.providers.body_only import BODY_SIGNERS
from relay.signatures.providers.provider import Provider, Token
from relay.signatures.providers.public_key import PUBLIC_SIGNERS
from relay.signatures.providers.timestamped import TIME_SIGNERS
from relay.signatures.scheme import Greeting

__all__ = ["KNOWN", "Provider", "Token"]


def _key(
    name: str,
    title: str,
    header: str | None = None,
    *,
    note: str = "",
    greeting: Greeting | None = None,
) -> Provider:
    """Make a provider that shows a key in a header; None: its operator chose the header."""
    where = header or "a key in the header that you chose there"
    token = Token(kind="api-key", header=header.lower().encode() if header else None, greeting=greeting)
    about = f"{title}: {where}" + (f"; {note}" if note else "")
    return Provider(name=name, about=about, token=token)


def _basic(name: str, title: str, *, note: str = "") -> Provider:
    """Make a provider that authenticates by HTTP Basic."""
    about = f"{title}: HTTP Basic authentication" + (f"; {note}" if note else "")
    return Provider(name=name, about=about, token=Token(kind="basic"))


_TOKENS: Final = (
    _key("bigcommerce", "BigCommerce"),
    _key("brevo", "Brevo"),
    _basic("chargebee", "Chargebee"),
    _key("datadog", "Datadog"),
    _key("fillout", "Fillout", note="form submissions"),
    _basic("mixpanel", "Mixpanel", note="cohort sync"),
    _key("new-relic", "New Relic"),
    _key("okta", "Okta event hooks", note="answers the verification challenge", greeting=okta_greeting),
    _basic("postmark", "Postmark"),
    _basic("sparkpost", "SparkPost"),
    _key("telegram", "Telegram bots", "X-Telegram-Bot-Api-Secret-Token"),
    _key("zapier", "Zapier"),
)

KNOWN: Final[tuple[Provider, ...]] = tuple(
    sorted((*BODY_SIGNERS, *TIME_SIGNERS, *PUBLIC_SIGNERS, *_TOKENS), key=lambda provider: provider.name)
)
"""In the order of their names."""
