"""Every kind of scheme: what may be written about it in the YAML file, and how it is built from that."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Final

from relay.signatures.mac.custom import HMAC
from relay.signatures.mac.row import Row
from relay.signatures.mac.scheme import hmac_scheme
from relay.signatures.options import SAMPLE, SECRETS, KindInfo, Option, OptionType, tolerance
from relay.signatures.providers import (
    with_handshake,
)
from relay.signatures.providers.most_used import ROWS
from relay.signatures.providers.table import KNOWN, Provider
from relay.signatures.sample_secrets import sample
from relay.signatures.scheme import Scheme
from relay.signatures.schemes import (
    gitlab,
    hubspot,
    jwt,
    linear,
    mailgun,
    microsoft_graph,
    paypal,
    public_key,
    shared_secret,
    sns,
    twilio,
)


def build(kind: str, options: Mapping[str, object]) -> Scheme:
    """Build a scheme from its options, secrets resolved to bytes; ValueError says what is wrong."""
    info = KINDS.get(kind)
    if info is None:
        close = get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ValueError(f"there is no scheme {kind}{hint}")
    return info.build(info.check(options))


def _row_kind(row: Row) -> KindInfo:
    return KindInfo(
        name=row.name,
        about=row.about,
        options=(SECRETS, tolerance(row.tolerance)) if row.timed else (SECRETS,),
        build=lambda o: hmac_scheme(row, o["secrets"], tolerance=o.get("tolerance")),
        sample=lambda: sample(row),
    )


def _provider_kind(provider: Provider) -> KindInfo:
    options: tuple[Option, ...] = (SECRETS,)
    if provider.row is not None and provider.row.timed:
        options = (SECRETS, tolerance(provider.row.tolerance))
    elif provider.token is not None and provider.token.kind == "basic":
        options = (_USERNAME, SECRETS)
    elif provider.token is not None and provider.token.header is None:
        options = (_KEY_HEADER, SECRETS)
    row = provider.row
    return KindInfo(
        name=provider.name,
        about=provider.about,
        options=options,
        build=provider.build,
        sample=lambda: SAMPLE if row is None else sample(row),
    )


_USERNAME: Final = Option(name="username", type=OptionType.TEXT, required=True, about="the user's name")
_KEY_HEADER: Final = Option(
    name="header", type=OptionType.HEADER, required=True, about="the header with the key"
)

_SIGNED: Final = (
    KindInfo(
        name="gitlab",
        about=gitlab.ROW.about,
        options=(SECRETS, tolerance(300.0)),
        build=lambda o: gitlab.gitlab_scheme(o["secrets"], tolerance=o["tolerance"]),
    ),
    KindInfo(
        name="twilio",
        about="Twilio: X-Twilio-Signature over the URL and the form, or JSON by bodySHA256",
        options=(
            SECRETS,
            Option(
                name="algorithm",
                type=OptionType.CHOICE,
                default="sha1",
                choices=("sha1", "sha256"),
                about="sha1 for an auth token, sha256 for a shared key",
            ),
        ),
        build=lambda o: twilio.twilio_scheme(o["secrets"], algorithm=o["algorithm"]),
    ),
    KindInfo(
        name="linear",
        about=linear.LINEAR.about,
        options=(SECRETS, tolerance(60.0)),
        build=lambda o: linear.linear_scheme(o["secrets"], tolerance=o["tolerance"]),
    ),
    KindInfo(
        name="hubspot",
        about=hubspot.HUBSPOT.about,
        options=(SECRETS, tolerance(300.0)),
        build=lambda o: hubspot.hubspot_scheme(o["secrets"], tolerance=o["tolerance"]),
    ),
    KindInfo(
        name="zoom",
        about=with_handshake.ZOOM.about,
        options=(SECRETS, tolerance(300.0)),
        build=lambda o: with_handshake.zoom_scheme(o["secrets"], tolerance=o["tolerance"]),
    ),
    KindInfo(
        name="meta",
        about=with_handshake.META.about,
        options=(
            SECRETS,
            Option(
                name="verify_token",
                type=OptionType.SECRETS,
                about="what hub.verify_token must be; without it hub.challenge is not answered",
            ),
        ),
        build=lambda o: with_handshake.meta_scheme(o["secrets"], verify_token=o["verify_token"]),
    ),
    KindInfo(
        name="x",
        about=with_handshake.X.about,
        options=(SECRETS,),
        build=lambda o: with_handshake.x_scheme(o["secrets"]),
    ),
    KindInfo(
        name="mailgun",
        about="Mailgun: the signature in the body, of a time and a token; add dedup, which goes by the token",
        options=(SECRETS, tolerance(None)),
        build=lambda o: mailgun.mailgun_scheme(o["secrets"], tolerance=o["tolerance"]),
    ),
)

_PUBLISHED: Final = (
    _row_kind(public_key.DISCORD),
    _row_kind(public_key.SENDGRID),
    KindInfo(
        name="paypal",
        about="PayPal: PayPal-Transmission-Sig, by the certificate that it publishes",
        options=(
            Option(
                name="webhook_id",
                type=OptionType.TEXTS,
                required=True,
                about="the ids under which the webhooks are registered",
            ),
            tolerance(None),
        ),
        build=lambda o: paypal.paypal_scheme(o["webhook_id"], tolerance=o["tolerance"]),
    ),
    KindInfo(
        name="sns",
        about="Amazon SNS: the Signature in its JSON, by its certificate; confirms subscriptions",
        options=(
            Option(
                name="topics",
                type=OptionType.TEXTS,
                required=True,
                about="the ARNs of the topics; no other is taken or confirmed",
            ),
            tolerance(None),
        ),
        build=lambda o: sns.sns_scheme(o["topics"], tolerance=o["tolerance"]),
    ),
)

_SHOWN: Final = (
    KindInfo(
        name="microsoft-graph",
        about="Microsoft Graph: clientState in every item of the body; answers validationToken",
        options=(
            Option(
                name="client_state",
                type=OptionType.SECRETS,
                required=True,
                about="the clientState of the subscriptions, any of which may verify",
            ),
        ),
        build=lambda o: microsoft_graph.graph_scheme(o["client_state"]),
    ),
    KindInfo(
        name="jwt",
        about="Authorization: Bearer with a JSON Web Token, by HS256, RS256 or ES256",
        options=(
            Option(
                name="secrets",
                type=OptionType.SECRETS,
                about="secrets of HS256, or RSA and P-256 keys as PEM; the key says which algorithm",
            ),
            Option(name="jwks_url", type=OptionType.TEXT, about="the https address of the issuer's key set"),
            Option(name="issuer", type=OptionType.TEXT, about="what iss must be"),
            Option(name="audience", type=OptionType.TEXTS, about="what aud must be, or hold"),
            Option(
                name="tolerance",
                type=OptionType.DURATION,
                default=30.0,
                about="how far exp and nbf may be off, as clocks differ",
            ),
        ),
        build=lambda o: jwt.webtoken_scheme(
            o["secrets"],
            jwks_url=o["jwks_url"],
            issuer=o["issuer"],
            audience=o["audience"] or (),
            tolerance=o["tolerance"],
        ),
    ),
    KindInfo(
        name="basic",
        about="HTTP Basic authentication",
        options=(_USERNAME, SECRETS),
        build=lambda o: shared_secret.basic_scheme(o["username"], o["secrets"]),
    ),
    KindInfo(
        name="bearer",
        about="Authorization: Bearer with a fixed token",
        options=(SECRETS,),
        build=lambda o: shared_secret.bearer_scheme(o["secrets"]),
    ),
    KindInfo(
        name="api-key",
        about="a key in a header or in the query",
        options=(
            Option(name="header", type=OptionType.HEADER, about="the header with the key"),
            Option(name="query", type=OptionType.TEXT, about="the query parameter with the key"),
            SECRETS,
        ),
        build=lambda o: shared_secret.api_key_scheme(
            o["secrets"], header=o["header"], query=o["query"] or None
        ),
    ),
    KindInfo(
        name="none",
        about="no check: everyone who reaches the address may post",
        options=(),
        build=lambda _: shared_secret.NoScheme(name="none", proof="none"),
    ),
)

KINDS: Final[Mapping[str, KindInfo]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            *map(_row_kind, (*ROWS, *with_handshake.SENDERS)),
            *_SIGNED,
            *_PUBLISHED,
            HMAC,
            *_SHOWN,
            *map(_provider_kind, KNOWN),
        )
    }
)
