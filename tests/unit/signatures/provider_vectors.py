"""Signatures that providers published in their documentation or in the tests of their libraries.

They are data that nobody here computed: a row with one of them is known to be what its provider does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from relay.model import Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """A request that verifies with this secret at `now`, in Unix seconds; `source` says who published it."""

    source: str
    secret: bytes
    body: bytes
    headers: Headers
    now: float = 0.0


BOX: Final = Vector(
    source="tests of box-python-sdk",
    secret=b"SamplePrimaryKey",
    body=(
        b'{"type":"webhook_event","webhook":{"id":"1234567890"},"trigger":"FILE.UPLOADED",'
        b'"source":{"id":"1234567890","type":"file","name":"Test.txt"}}'
    ),
    headers=(
        (b"box-delivery-id", b"f96bb54b-ee16-4fc5-aa65-8c2d9e5b546f"),
        (b"box-delivery-timestamp", b"2020-01-01T00:00:00-07:00"),
        (b"box-signature-algorithm", b"HmacSHA256"),
        (b"box-signature-primary", b"6TfeAW3A1PASkgboxxA5yqHNKOwFyMWuEXny/FPD5hI="),
        (b"box-signature-secondary", b"v+1CD1Jdo3muIcbpv5lxxgPglOqMfsNHPV899xWYydo="),
        (b"box-signature-version", b"1"),
    ),
    now=1577862000.0,
)

COINBASE_COMMERCE: Final = Vector(
    source="tests of coinbase-commerce-python",
    secret=b"30291a20-0bd1-4267-9b0f-e6e7b123c0bf",
    body=(
        b'{"id":1,"scheduled_for":"2017-01-31T20:50:02Z","attempt_number":1,"event":'
        b'{"id":"24934862-d980-46cb-9402-43c81b0cdba6","type":"charge:created",'
        b'"api_version":"2018-03-22","created_at":"2017-01-31T20:49:02Z","data":{"code":"66BEOV2A",'
        b'"name":"The Sovereign Individual","description":"Mastering the Transition to the Information Age",'
        b'"hosted_url":"https://commerce.coinbase.com/charges/66BEOV2A",'
        b'"created_at":"2017-01-31T20:49:02Z","expires_at":"2017-01-31T21:04:02Z",'
        b'"timeline":[{"time":"2017-01-31T20:49:02Z","status":"NEW"}],'
        b'"metadata":{},"pricing_type":"no_price","payments":[],"addresses":'
        b'{"bitcoin":"0000000000000000000000000000000000",'
        b'"ethereum":"0x0000000000000000000000000000000000000000",'
        b'"litecoin":"3000000000000000000000000000000000",'
        b'"bitcoincash":"bitcoincash:000000000000000000000000000000000000000000"}}}}'
    ),
    headers=(
        (b"x-cc-webhook-signature", b"8be7742c7d372f08a6a3224edadf18a22b65fa9e28f3f2de97376cdaa092590d"),
    ),
)

CRONOFY: Final = Vector(
    source="Cronofy's page on authenticating push notifications",
    secret=b"CRN_nGlYDFXwfSXgB9rvGNBJyfE454GGPtWIbNuPwr",
    body=b'{"example":"well-known"}',
    headers=(
        (
            b"cronofy-hmac-sha256",
            b"5DxentQi5YSXODEzTVv06sRwJ3pULIz1KrYv20qxEK0=,BmQmWVuZ70ILWjr1CAt5oC7YOolgnku4WZtlrKfx/6k=",
        ),
    ),
)

FINCH: Final = Vector(
    source="tests of finch-api-go",
    secret=b"5WbX5kEWLlfzsGNjH64I8lOOqUB6e8FH",
    body=b'{"company_id":"720be419-0293-4d32-a707-32179b0827ab"}',
    headers=(
        (b"finch-event-id", b"msg_2Lh9KRb0pzN4LePd3XiA4v12Axj"),
        (b"finch-timestamp", b"1676312382"),
        (b"finch-signature", b"v1,m7y0TV2C+hlHxU42wCieApTSTaA8/047OAplBqxIV/s="),
    ),
    now=1676312382.0,
)

GOCARDLESS: Final = Vector(
    source="tests of gocardless-pro-python",
    secret=b"ED7D658C-D8EB-4941-948B-3973214F2D49",
    body=(
        b'{"events":[{"id":"EV00BD05S5VM2T","created_at":"2018-07-05T09:13:51.404Z",'
        b'"resource_type":"subscriptions","action":"created","links":{"subscription":"SB0003JJQ2MR06"},'
        b'"details":{"origin":"api","cause":"subscription_created",'
        b'"description":"Subscription created via the API."},"metadata":{}},'
        b'{"id":"EV00BD05TB8K63","created_at":"2018-07-05T09:13:56.893Z","resource_type":"mandates",'
        b'"action":"created","links":{"mandate":"MD000AMA19XGEC"},'
        b'"details":{"origin":"api","cause":"mandate_created",'
        b'"description":"Mandate created via the API."},"metadata":{}}]}'
    ),
    headers=((b"webhook-signature", b"2693754819d3e32d7e8fcb13c729631f316c6de8dc1cf634d6527f1c07276e7e"),),
)

JIRA: Final = Vector(
    source="Atlassian's page on Jira's webhooks",
    secret=b"It's a Secret to Everybody",
    body=b"Hello World!",
    headers=(
        (b"x-hub-signature", b"sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"),
    ),
)

MODERN_TREASURY: Final = Vector(
    source="tests of modern-treasury-python",
    secret=b"foo",
    body=b'{"foo":"bar"}',
    headers=((b"x-signature", b"57e14f6f354543f0101fb06ea24df7731d90087b76651e3497345e22a3622940"),),
)

OPENAI: Final = Vector(
    source="tests of openai-python",
    secret=b"whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=",
    body=(
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        b'"type": "response.completed", "data": {"id": "resp_123"}}'
    ),
    headers=(
        (b"webhook-id", b"wh_685c059ae39c8190af8c71ed1022a24d"),
        (b"webhook-timestamp", b"1750861210"),
        (b"webhook-signature", b"v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY="),
    ),
    now=1750861210.0,
)

PUSHER: Final = Vector(
    source="tests of pusher-http-go",
    secret=b"secret",
    body=b'{"hello":"world"}',
    headers=(
        (b"x-pusher-key", b"key"),
        (b"x-pusher-signature", b"2677ad3e7c090b2fa2c0fb13020d66d5420879b8316eb356a2d60fb9073bc778"),
    ),
)

RAZORPAY: Final = Vector(
    source="tests of razorpay-python",
    secret=b"key_secret",
    body=b"""{
  "event": "payment.authorized",
  "entity": "event",
  "contains": [
    "payment"
  ],
  "payload": {
    "payment": {
      "entity": {
        "id": "pay_6koWN7bvxujzxM",
        "entity": "payment",
        "amount": 1000000,
        "currency": "INR",
        "status": "captured",
        "order_id": "order_100000000order",
        "international": false,
        "method": "card",
        "amount_refunded": 0,
        "refund_status": null,
        "captured": true,
        "description": "random description",
        "card_id": "card_6koWNAT6LASUqy",
        "bank": null,
        "wallet": null,
        "vpa": null,
        "email": "a@b.com",
        "contact": "+919999999999",
        "notes": {
          "merchant_order_id": "random order id"
        },
        "fee": 23000,
        "service_tax": 3000,
        "error_code": null,
        "error_description": null,
        "created_at": 1479978483
      }
    }
  },
  "created_at": 1400826760
}
""",
    headers=((b"x-razorpay-signature", b"d60e67fd884556c045e9be7dad57903e33efc7172c17c6e3ef77db42d2b366e9"),),
)

RECURLY: Final = Vector(
    source="tests of recurly-client-ruby",
    secret=b"354fab5bd35f5a0d50845ee7e30165244468b13c2c343f104e4e730a59326d9d",
    body=(
        b'{"id":"rjxwmwedwqug","object_type":"account","site_id":"qc326l1hl8k9","event_type":"created",'
        b'"event_time":"2022-09-13T21:18:40Z","account_code":"adfas23zzz14123"}'
    ),
    headers=(
        (
            b"recurly-signature",
            b"1663103925004,ad24699f3beaa24c9af2cc7ada3ce4c835da0090194241b9d3add83d27f14bc3",
        ),
    ),
    now=1663103925.004,
)

SANITY: Final = Vector(
    source="tests of @sanity/webhook",
    secret=b"test",
    body=b'{"_id":"resume"}',
    headers=(
        (
            b"sanity-webhook-signature",
            b"t=1633519811129,v1=tLa470fx7qkLLEcMOcEUFuBbRSkGujyskxrNXcoh0N0",
        ),
    ),
    now=1633519811.129,
)

SINCH: Final = Vector(
    source="tests of sinch-sdk-dotnet",
    secret=b"foo_secret1234",
    body=(
        b'{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z",'
        b'"project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4","contact_create_notification":{"contact":'
        b'{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS",'
        b'"identity":"48123456789","app_id":""}],"display_name":"New Test Contact",'
        b'"email":"new.contact@email.com","external_id":"","metadata":"","language":"EN_US"}},'
        b'"message_metadata":""}'
    ),
    headers=(
        (b"x-sinch-webhook-signature-nonce", b"01FJA8B4A7BM43YGWSG9GBV067"),
        (b"x-sinch-webhook-signature-timestamp", b"1634579353"),
        (b"x-sinch-webhook-signature", b"6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE="),
    ),
    now=1634579353.0,
)

WORKOS: Final = Vector(
    source="tests of workos-ruby",
    secret=b"FrQWzvMo0eqse22Ceyia2uuww",
    body=(
        b'{"data":{"id":"directory_user_01FAEAJCR3ZBZ30D8BD1924TVG","state":"active","emails":'
        b'[{"type":"work","value":"blair@foo-corp.com","primary":true}],"idp_id":"00u1e8mutl6wlH3lL4x7",'
        b'"object":"directory_user","username":"blair@foo-corp.com","last_name":"Lunceford",'
        b'"first_name":"Blair","directory_id":"directory_01F9M7F68PZP8QXP8G7X5QRHS7","raw_attributes":'
        b'{"name":{"givenName":"Blair","familyName":"Lunceford","middleName":"Elizabeth",'
        b'"honorificPrefix":"Ms."},"title":"Developer Success Engineer","active":true,"emails":'
        b'[{"type":"work","value":"blair@foo-corp.com","primary":true}],"groups":[],"locale":"en-US",'
        b'"schemas":["urn:ietf:params:scim:schemas:core:2.0:User",'
        b'"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"],"userName":"blair@foo-corp.com",'
        b'"addresses":[{"region":"CO","primary":true,"locality":"Steamboat Springs","postalCode":"80487"}],'
        b'"externalId":"00u1e8mutl6wlH3lL4x7","displayName":"Blair Lunceford",'
        b'"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"manager":{"value":"2",'
        b'"displayName":"Kathleen Chung"},"division":"Engineering","department":"Customer Success"}}},'
        b'"event":"dsync.user.created"}'
    ),
    headers=(
        (
            b"workos-signature",
            b"t=1626125972272, v1=80f7ab7efadc306eb5797c588cee9410da9be4416782b497bf1e1bf4175fb928",
        ),
    ),
    now=1626125972.272,
)

WISE: Final = Vector(
    source="transferwise/digital-signatures-examples, with the key of the sandbox",
    secret=b"""-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAwpb91cEYuyJNQepZAVfP
ZIlPZfNUefH+n6w9SW3fykqKu938cR7WadQv87oF2VuT+fDt7kqeRziTmPSUhqPU
ys/V2Q1rlfJuXbE+Gga37t7zwd0egQ+KyOEHQOpcTwKmtZ81ieGHynAQzsn1We3j
wt760MsCPJ7GMT141ByQM+yW1Bx+4SG3IGjXWyqOWrcXsxAvIXkpUD/jK/L958Cg
nZEgz0BSEh0QxYLITnW1lLokSx/dTianWPFEhMC9BgijempgNXHNfcVirg1lPSyg
z7KqoKUN0oHqWLr2U1A+7kqrl6O2nx3CKs1bj1hToT1+p4kcMoHXA7kA+VBLUpEs
VwIDAQAB
-----END PUBLIC KEY-----
""",
    body=(
        b'{"data":{"resource":{"id":49983981,"profile_id":16055450,"account_id":14124090,"type":"transfer"},'
        b'"current_state":"incoming_payment_waiting","previous_state":null,'
        b'"occurred_at":"2021-08-23T10:12:50Z"},"subscription_id":"90aa8e14-4ef1-4a56-861c-f3c9cde097ea",'
        b'"event_type":"transfers#state-change","schema_version":"2.0.0","sent_at":"2021-08-23T10:12:50Z"}'
    ),
    headers=(
        (
            b"x-signature-sha256",
            (
                b"wKcKCYXAzxNgiu7xmoDm943NUni7Rz33QN8JkEA9dWSGebgndonabgSj18Y4C08OrwVmueGsED2s00M7DtJVcYKOS1i3G4TMVx"
                b"+mgM3aL9djMBkQtiYNBFUd6wrPI7ZUNHv/TrlKSjTMc+6JFvUvJ7owY3z85e3I4jLRLJowMFvO8kvCJ60+1pY9wDwZvtZ//WS9"
                b"3LrwGjk9Dvwzpmu0w+P4J75tETT5qC3Uv0y5G2yO8SEoO3yNP/tg/BOli02niHb53vEOUWUb9bly6thnfMoXoiV/osoGxgF20R"
                b"58RlvkAmezyyl1Sv542TfS2DpiwVnmjjjkCyXeSUcKookYLQ=="
            ),
        ),
    ),
)

VECTORS: Final = {
    "atlassian-jira": JIRA,
    "box": BOX,
    "coinbase-commerce": COINBASE_COMMERCE,
    "cronofy": CRONOFY,
    "finch": FINCH,
    "gocardless": GOCARDLESS,
    "modern-treasury": MODERN_TREASURY,
    "openai": OPENAI,
    "pusher": PUSHER,
    "razorpay": RAZORPAY,
    "recurly": RECURLY,
    "sanity": SANITY,
    "sinch": SINCH,
    "wise": WISE,
    "workos": WORKOS,
}
"""By the name of the provider."""
