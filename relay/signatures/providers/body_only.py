"""Providers that sign the body, and no time: one row each.

Sources: each provider's page on securing its webhooks, by a registry of 144 providers read in
November 2026. The types and ids of events are where the providers' own examples of a body have them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from relay.signatures import greetings
from relay.signatures.event_fields import InBatch, InBody, InHeader
from relay.signatures.handshakes import Echo
from relay.signatures.keys import BASE64, BASE64URL, from_base64, from_hex
from relay.signatures.mac.header_layout import Listed
from relay.signatures.providers.provider import SAMPLES, Provider, mac

_COMMAS: Final = Listed(b",")
_EVENT: Final = (InBody(("event",)),)
_ID: Final = (InBody(("id",)),)
_TYPE: Final = (InBody(("type",)),)


def _body(*path: str) -> tuple[InBody]:
    return (InBody(path),)


_HEX: Final = (
    mac("ashby", "Ashby", "Ashby-Signature", prefix=b"sha256=", type_at=_body("action")),
    mac(
        "atlassian-jira",
        "Jira",
        "X-Hub-Signature",
        note="system webhooks, not those of Connect apps",
        confirmed_by="Atlassian's page on Jira's webhooks",
        prefix=b"sha256=",
        type_at=_body("webhookEvent"),
        id_at=(InHeader(b"x-atlassian-webhook-identifier"),),
    ),
    mac("cal-com", "Cal.com", "X-Cal-Signature-256", type_at=_body("triggerEvent")),
    mac(
        "chargify",
        "Chargify (Maxio)",
        "X-Chargify-Webhook-Signature-Hmac-Sha-256",
        confirmed_by=SAMPLES,
        type_at=_EVENT,
        forms=True,
    ),
    mac("checkout-com", "Checkout.com", "Cko-Signature", type_at=_TYPE, id_at=_ID),
    mac("checkr", "Checkr", "X-Checkr-Signature", confirmed_by=SAMPLES, type_at=_TYPE, id_at=_ID),
    mac(
        "circleci",
        "CircleCI",
        "Circleci-Signature",
        prefix=b"v1=",
        form=_COMMAS,
        type_at=_TYPE,
        id_at=_ID,
    ),
    mac("clickup", "ClickUp", "X-Signature", type_at=_EVENT),
    mac(
        "coinbase-commerce",
        "Coinbase Commerce",
        "X-CC-Webhook-Signature",
        confirmed_by="tests of coinbase-commerce-python",
        type_at=_body("event", "type"),
        id_at=_body("event", "id"),
    ),
    mac("deel", "Deel", "X-Deel-Signature", "POST{body}"),
    mac("doppler", "Doppler", "X-Doppler-Signature", confirmed_by=SAMPLES, prefix=b"sha256="),
    mac("dub", "Dub", "Dub-Signature", type_at=_EVENT, id_at=_ID),
    mac("dwolla", "Dwolla", "X-Request-Signature-SHA-256", type_at=_body("topic"), id_at=_ID),
    mac(
        "framer",
        "Framer",
        "Framer-Signature",
        "{body}{id}",
        prefix=b"sha256=",
        id_header=b"framer-webhook-submission-id",
        id_at=(InHeader(b"framer-webhook-submission-id"),),
    ),
    mac("gocardless", "GoCardless", "Webhook-Signature", confirmed_by="tests of gocardless-pro-python"),
    mac("launchdarkly", "LaunchDarkly", "X-LD-Signature", type_at=_body("kind")),
    mac(
        "lemon-squeezy",
        "Lemon Squeezy",
        "X-Signature",
        type_at=(InHeader(b"x-event-name"), InBody(("meta", "event_name"))),
    ),
    mac(
        "modern-treasury",
        "Modern Treasury",
        "X-Signature",
        confirmed_by="tests of modern-treasury-python",
        type_at=_EVENT,
    ),
    mac(
        "notion",
        "Notion",
        "X-Notion-Signature",
        note="the key is the verification_token that it sent first",
        prefix=b"sha256=",
        type_at=_TYPE,
        id_at=_ID,
    ),
    mac("npm", "npm", "X-Npm-Signature", prefix=b"sha256=", type_at=_EVENT),
    mac(
        "nylas",
        "Nylas",
        "X-Nylas-Signature",
        note="answers the challenge",
        type_at=_TYPE,
        id_at=_ID,
        greeting=Echo("challenge"),
    ),
    mac(
        "pagerduty",
        "PagerDuty",
        "X-PagerDuty-Signature",
        prefix=b"v1=",
        form=_COMMAS,
        type_at=_body("event", "event_type"),
        id_at=_body("event", "id"),
    ),
    mac(
        "pusher",
        "Pusher Channels",
        "X-Pusher-Signature",
        note="the key is the secret of the app",
        confirmed_by="tests of pusher-http-go",
        type_at=(InBatch(("name",), within=("events",)),),
    ),
    mac(
        "razorpay",
        "Razorpay",
        "X-Razorpay-Signature",
        confirmed_by="tests of razorpay-python",
        type_at=_EVENT,
        id_at=(InHeader(b"x-razorpay-event-id"),),
    ),
    mac(
        "sendbird",
        "Sendbird",
        "X-Sendbird-Signature",
        note="the key is the master API token",
        confirmed_by=SAMPLES,
        type_at=_body("category"),
    ),
    mac(
        "sentry",
        "Sentry",
        "Sentry-Hook-Signature",
        type_at=(InHeader(b"sentry-hook-resource", then="action"),),
    ),
    mac(
        "squarespace",
        "Squarespace",
        "Squarespace-Signature",
        note="the key is hex",
        decode_key=from_hex,
        type_at=_body("topic"),
        id_at=_ID,
    ),
    mac(
        "airtable",
        "Airtable",
        "X-Airtable-Content-MAC",
        note="the key is base64",
        prefix=b"hmac-sha256=",
        decode_key=from_base64,
    ),
)

_BASE64: Final = (
    mac(
        "ably",
        "Ably",
        "X-Ably-Signature",
        note="the key is the part of the API key after the colon",
        encoding=BASE64,
    ),
    mac(
        "aftership",
        "AfterShip",
        "Aftership-Hmac-Sha256",
        confirmed_by=SAMPLES,
        encoding=BASE64,
        type_at=_EVENT,
    ),
    mac("bolt", "Bolt", "X-Bolt-Hmac-Sha256", confirmed_by=SAMPLES, encoding=BASE64, type_at=_TYPE),
    mac(
        "cronofy",
        "Cronofy",
        "Cronofy-HMAC-SHA256",
        confirmed_by="Cronofy's page on authenticating push notifications",
        encoding=BASE64,
        form=_COMMAS,
        type_at=_body("notification", "type"),
    ),
    mac(
        "docusign",
        "DocuSign Connect",
        "X-DocuSign-Signature-1",
        note="and -2 to -100, one for each key",
        also=frozenset(b"x-docusign-signature-%d" % number for number in range(2, 101)),
        encoding=BASE64,
        type_at=_EVENT,
    ),
    mac("heroku", "Heroku", "Heroku-Webhook-Hmac-SHA256", encoding=BASE64),
    mac(
        "merge-dev",
        "Merge",
        "X-Merge-Webhook-Signature",
        encoding=BASE64URL,
        type_at=_body("hook", "event"),
    ),
    mac(
        "ms-teams",
        "Microsoft Teams outgoing webhooks",
        "Authorization",
        note="the key is base64",
        encoding=BASE64,
        prefix=b"HMAC ",
        decode_key=from_base64,
        type_at=_TYPE,
        id_at=_ID,
    ),
    mac(
        "primer",
        "Primer",
        "X-Signature-Primary",
        confirmed_by=SAMPLES,
        encoding=BASE64,
        type_at=_body("eventType"),
    ),
    mac("quickbooks", "QuickBooks (Intuit)", "Intuit-Signature", encoding=BASE64),
    mac(
        "tally",
        "Tally",
        "Tally-Signature",
        encoding=BASE64,
        type_at=_body("eventType"),
        id_at=_body("eventId"),
    ),
    mac(
        "woocommerce",
        "WooCommerce",
        "X-WC-Webhook-Signature",
        encoding=BASE64,
        type_at=(InHeader(b"x-wc-webhook-topic"),),
        id_at=(InHeader(b"x-wc-webhook-delivery-id"),),
    ),
    mac("xero", "Xero", "X-Xero-Signature", confirmed_by=SAMPLES, encoding=BASE64),
)

_SHA1: Final = (
    mac(
        "autodesk-aps",
        "Autodesk Platform Services",
        "X-Adsk-Signature",
        confirmed_by=SAMPLES,
        algorithm="sha1",
        prefix=b"sha1hash=",
        type_at=_body("hook", "event"),
    ),
    mac(
        "mandrill",
        "Mailchimp Transactional (Mandrill)",
        "X-Mandrill-Signature",
        "{url}{form}",
        algorithm="sha1",
        encoding=BASE64,
        forms=True,
    ),
    mac(
        "mongodb-atlas",
        "MongoDB Atlas alerts",
        "X-MMS-Signature",
        algorithm="sha1",
        encoding=BASE64,
        type_at=_body("eventTypeName"),
    ),
    mac(
        "segment",
        "Segment",
        "X-Signature",
        confirmed_by=SAMPLES,
        algorithm="sha1",
        type_at=_TYPE,
        id_at=_body("messageId"),
    ),
    mac(
        "trello",
        "Trello",
        "X-Trello-Webhook",
        "{body}{url}",
        algorithm="sha1",
        encoding=BASE64,
        type_at=_body("action", "type"),
        id_at=_body("action", "id"),
    ),
    mac("vercel", "Vercel", "X-Vercel-Signature", algorithm="sha1", type_at=_TYPE, id_at=_ID),
)

_SHA512: Final = (
    mac(
        "authorize-net",
        "Authorize.net",
        "X-ANET-Signature",
        note="the key is hex",
        confirmed_by=SAMPLES,
        algorithm="sha512",
        prefix=b"sha512=",
        decode_key=from_hex,
        type_at=_body("eventType"),
        id_at=_body("notificationId"),
    ),
    mac(
        "onfleet",
        "Onfleet",
        "X-Onfleet-Signature",
        note="the key is hex",
        confirmed_by=SAMPLES,
        algorithm="sha512",
        decode_key=from_hex,
    ),
    mac("paystack", "Paystack", "X-Paystack-Signature", algorithm="sha512", type_at=_EVENT),
)

_LINKEDIN: Final = mac(
    "linkedin",
    "LinkedIn",
    "X-LI-Signature",
    "hmacsha256={body}",
    note="answers the challengeCode",
)

BODY_SIGNERS: Final[tuple[Provider, ...]] = (
    *_HEX,
    *_BASE64,
    *_SHA1,
    *_SHA512,
    replace(_LINKEDIN, greeting=greetings.LinkedInGreeting),
)
