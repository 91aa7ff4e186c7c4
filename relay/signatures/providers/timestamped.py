"""Providers that sign a time with the body: one row each.

Sources as those of body_signers. Where neither the provider nor its library states how old a request
may be, 300 s is ours, unless the time's unit is not stated either: then its age is not checked.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from relay.signatures.event_fields import InBody, InHeader
from relay.signatures.greetings import twitch_challenge
from relay.signatures.keys import BASE64, BASE64URL, raw
from relay.signatures.mac.header_layout import Fields, Listed
from relay.signatures.mac.row import Row
from relay.signatures.mac.standard_webhooks import STANDARD_WEBHOOKS
from relay.signatures.providers.most_used import ROWS
from relay.signatures.providers.provider import SAMPLES, Provider, mac
from relay.signatures.timestamps import ISO, MILLISECONDS, SECONDS_OR_MILLISECONDS

_DOT: Final = "{timestamp}.{body}"
_EVENT: Final = (InBody(("event",)),)
_ID: Final = (InBody(("id",)),)
_TYPE: Final = (InBody(("type",)),)

_IN_FIELDS: Final = (
    mac(
        "affirm",
        "Affirm",
        "X-Affirm-Signature",
        _DOT,
        confirmed_by=SAMPLES,
        algorithm="sha512",
        prefix=b"v0=",
        form=Fields(),
    ),
    mac(
        "buildkite",
        "Buildkite",
        "X-Buildkite-Signature",
        _DOT,
        confirmed_by=SAMPLES,
        prefix=b"signature=",
        form=Fields(time=b"timestamp="),
        type_at=(InHeader(b"x-buildkite-event"), *_EVENT),
    ),
    mac(
        "calendly",
        "Calendly",
        "Calendly-Webhook-Signature",
        _DOT,
        prefix=b"v1=",
        form=Fields(),
        type_at=_EVENT,
    ),
    mac(
        "knock",
        "Knock",
        "X-Knock-Signature",
        _DOT,
        encoding=BASE64,
        prefix=b"s=",
        form=Fields(),
        unit=MILLISECONDS,
        type_at=_TYPE,
    ),
    mac(
        "mux",
        "Mux",
        "Mux-Signature",
        _DOT,
        confirmed_by=SAMPLES,
        prefix=b"v1=",
        form=Fields(),
        type_at=_TYPE,
        id_at=_ID,
    ),
    mac(
        "persona",
        "Persona",
        "Persona-Signature",
        _DOT,
        prefix=b"v1=",
        form=Fields(groups=b" "),
        type_at=(InBody(("data", "attributes", "name")),),
        id_at=(InBody(("data", "id")),),
    ),
    mac(
        "recurly",
        "Recurly",
        "Recurly-Signature",
        _DOT,
        confirmed_by="tests of recurly-client-ruby",
        form=Fields(time=b""),
        # Its library writes milliseconds, and requests with seconds have been seen.
        unit=SECONDS_OR_MILLISECONDS,
        type_at=(InBody(("event_type",)),),
    ),
    mac(
        "sanity",
        "Sanity",
        "Sanity-Webhook-Signature",
        _DOT,
        confirmed_by="tests of @sanity/webhook",
        encoding=BASE64URL,
        prefix=b"v1=",
        form=Fields(),
        unit=MILLISECONDS,
        tolerance=None,  # as its own library
    ),
    mac(
        "shippo",
        "Shippo",
        "Shippo-Auth-Signature",
        _DOT,
        confirmed_by=SAMPLES,
        prefix=b"v1=",
        form=Fields(),
        type_at=_EVENT,
    ),
    mac("tiktok", "TikTok", "TikTok-Signature", _DOT, prefix=b"s=", form=Fields(), type_at=_EVENT),
    mac(
        "workos",
        "WorkOS",
        "WorkOS-Signature",
        _DOT,
        confirmed_by="tests of workos-ruby",
        prefix=b"v1=",
        form=Fields(),
        unit=MILLISECONDS,
        type_at=_EVENT,
        id_at=_ID,
    ),
)

_IN_A_HEADER: Final = (
    mac(
        "airship",
        "Airship",
        "X-UA-Signature",
        "{timestamp}:{body}",
        timestamp_header=b"x-ua-timestamp",
    ),
    mac(
        "airwallex",
        "Airwallex",
        "X-Signature",
        "{timestamp}{body}",
        timestamp_header=b"x-timestamp",
        unit=None,
        tolerance=None,
        type_at=(InBody(("name",)),),
        id_at=_ID,
    ),
    mac(
        "box",
        "Box",
        "Box-Signature-Primary",
        "{body}{timestamp}",
        note="and -Secondary, each under its own key",
        confirmed_by="tests of box-python-sdk",
        also=frozenset({b"box-signature-secondary"}),
        encoding=BASE64,
        timestamp_header=b"box-delivery-timestamp",
        unit=ISO,
        tolerance=600.0,  # "not older than ten minutes"
        type_at=(InBody(("trigger",)),),
        id_at=_ID,
    ),
    mac(
        "configcat",
        "ConfigCat",
        "X-ConfigCat-Webhook-Signature-V1",
        "{id}{timestamp}{body}",
        encoding=BASE64,
        form=Listed(b","),
        timestamp_header=b"x-configcat-webhook-timestamp",
        unit=None,
        tolerance=None,
        id_header=b"x-configcat-webhook-id",
    ),
    mac(
        "customer-io",
        "Customer.io",
        "X-CIO-Signature",
        "v0:{timestamp}:{body}",
        timestamp_header=b"x-cio-timestamp",
        type_at=(InBody(("metric",)),),
        id_at=(InBody(("event_id",)),),
    ),
    mac(
        "front",
        "Front",
        "X-Front-Signature",
        "{timestamp}:{body}",
        encoding=BASE64,
        timestamp_header=b"x-front-request-timestamp",
        unit=MILLISECONDS,
        type_at=_TYPE,
    ),
    mac(
        "klaviyo",
        "Klaviyo",
        "Klaviyo-Signature",
        "{body}{timestamp}",
        confirmed_by=SAMPLES,
        timestamp_header=b"klaviyo-timestamp",
        unit=None,
        tolerance=None,
    ),
    mac(
        "lob",
        "Lob",
        "Lob-Signature",
        _DOT,
        timestamp_header=b"lob-signature-timestamp",
        unit=None,
        tolerance=None,
        type_at=(InBody(("event_type", "id")),),
        id_at=_ID,
    ),
    mac(
        "sinch",
        "Sinch",
        "X-Sinch-Webhook-Signature",
        "{body}.{header:x-sinch-webhook-signature-nonce}.{timestamp}",
        confirmed_by="tests of sinch-sdk-dotnet",
        encoding=BASE64,
        timestamp_header=b"x-sinch-webhook-signature-timestamp",
    ),
    mac(
        "twitch",
        "Twitch EventSub",
        "Twitch-Eventsub-Message-Signature",
        "{id}{timestamp}{body}",
        note="answers webhook_callback_verification, once it is verified",
        prefix=b"sha256=",
        timestamp_header=b"twitch-eventsub-message-timestamp",
        unit=ISO,
        tolerance=600.0,
        id_header=b"twitch-eventsub-message-id",
        type_at=(InHeader(b"twitch-eventsub-subscription-type"),),
        id_at=(InHeader(b"twitch-eventsub-message-id"),),
        challenge=twitch_challenge,
    ),
    mac(
        "webflow",
        "Webflow",
        "X-Webflow-Signature",
        "{timestamp}:{body}",
        note="webhooks of an OAuth app",
        timestamp_header=b"x-webflow-timestamp",
        unit=SECONDS_OR_MILLISECONDS,
        type_at=(InBody(("triggerType",)),),
    ),
    mac(
        "zendesk",
        "Zendesk",
        "X-Zendesk-Webhook-Signature",
        "{timestamp}{body}",
        encoding=BASE64,
        timestamp_header=b"x-zendesk-webhook-signature-timestamp",
        unit=ISO,
        type_at=_TYPE,
    ),
)

_SVIX: Final = next(row for row in ROWS if row.name == "svix")
_FINCH: Final = replace(
    STANDARD_WEBHOOKS,
    header=b"finch-signature",
    timestamp_header=b"finch-timestamp",
    id_header=b"finch-event-id",
    type_at=(InBody(("event_type",)),),
    id_at=(InHeader(b"finch-event-id"),),
)
_POLAR: Final = replace(STANDARD_WEBHOOKS, decode_key=raw)


def _adopter(
    name: str,
    title: str,
    base: Row = STANDARD_WEBHOOKS,
    *,
    note: str = "",
    confirmed_by: str | None = None,
) -> Provider:
    """Make a provider of one that signs as another row says, and with HMAC alone."""
    how = "as svix" if base is _SVIX else "as standard-webhooks"
    about = f"{title}: {how}" + (f", {note}" if note else "")
    row = replace(base, name=name, about=about, ed25519=b"")
    # The construction is the package's; that the provider uses it is its documentation's word.
    package = "the package svix" if base is _SVIX else "the package standardwebhooks"
    return Provider(name=name, about=about, row=row, confirmed_by=confirmed_by or package)


_ADOPTERS: Final = (
    _adopter("brex", "Brex", note="the key is bare base64"),
    _adopter("clerk", "Clerk", _SVIX),
    _adopter("etsy", "Etsy", confirmed_by=SAMPLES),
    _adopter("finch", "Finch", _FINCH, note="with finch- headers", confirmed_by="tests of finch-api-go"),
    _adopter("gemini", "Gemini API", note="static secrets"),
    _adopter("incident-io", "incident.io"),
    _adopter("increase", "Increase"),
    _adopter("loops", "Loops"),
    _adopter("openai", "OpenAI", confirmed_by="tests of openai-python"),
    _adopter("polar", "Polar", _POLAR, note="the key is the whole text", confirmed_by=SAMPLES),
    _adopter("render", "Render"),
    _adopter("replicate", "Replicate", confirmed_by=SAMPLES),
    _adopter("resend", "Resend", _SVIX),
    _adopter("stytch", "Stytch", _SVIX),
    _adopter("supabase", "Supabase Auth hooks", note="the key comes after v1,whsec_"),
    _adopter("vanta", "Vanta", _SVIX),
)

TIME_SIGNERS: Final[tuple[Provider, ...]] = (*_ADOPTERS, *_IN_FIELDS, *_IN_A_HEADER)
