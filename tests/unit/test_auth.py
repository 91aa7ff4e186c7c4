"""How Relay says who it is: the credentials of every kind on what is sent, and the signature over it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator

import httpx
import pytest
import respx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from relay.config.model import ApiKeyAuth, Auth, BasicAuth, BearerAuth, Http
from relay.egress import Egress
from relay.model import Headers, Request
from relay.signatures import Scheme, build
from tests.unit.egress_helpers import api, attempt_input, destination, rules

URL = "https://billing.example/hooks"
FIRST = "whsec_" + base64.b64encode(b"the first secret, 24 bytes").decode()
SECOND = "whsec_" + base64.b64encode(b"another secret of 25 bytes").decode()


@pytest.fixture
async def router() -> respx.MockRouter:
    """Routes by which a downstream answers."""
    return respx.MockRouter(assert_all_called=False)


@pytest.fixture
async def egress(router: respx.MockRouter) -> AsyncIterator[Egress]:
    """An egress whose transport is the router."""
    async with Egress(rules(), httpx.MockTransport(router.async_handler)) as egress:
        yield egress


async def sent(
    egress: Egress, router: respx.MockRouter, target: Http, *, headers: Headers = (), query: bytes = b""
) -> httpx.Request:
    """What reaches the downstream."""
    route = router.route(host="billing.example").respond(200)
    await egress.send(attempt_input(headers=headers, query=query, body=b'{"a": 1}'), destination(target))
    request = route.calls.last.request
    assert isinstance(request, httpx.Request)
    return request


@pytest.mark.parametrize(
    ("auth", "expected"),
    [
        (BearerAuth(token="t0ken"), "Bearer t0ken"),
        (
            BasicAuth(username="us:er", password="pä:ss"),
            "Basic " + base64.b64encode("us:er:pä:ss".encode()).decode(),
        ),
    ],
)
async def test_the_authorization_is_the_destinations(
    egress: Egress, router: respx.MockRouter, auth: Auth, expected: str
) -> None:
    """It is there once, in place of the sender's, of one among the headers, and of the URL's."""
    target = api("https://u:p@billing.example/", auth=auth, headers=((b"authorization", b"Basic eDp5"),))
    request = await sent(egress, router, target, headers=((b"authorization", b"Bearer stolen"),))
    assert request.headers.get_list("authorization") == [expected]


async def test_an_api_key_in_a_header_replaces_the_senders(egress: Egress, router: respx.MockRouter) -> None:
    """A name is sent once, with the destination's value."""
    target = api(URL, auth=ApiKeyAuth(header="X-Api-Key", query=None, value="k"))
    request = await sent(egress, router, target, headers=((b"x-api-key", b"1"), (b"x-api-key", b"2")))
    assert request.headers.get_list("x-api-key") == ["k"]


@pytest.mark.parametrize(
    ("url", "query", "target"),
    [
        (URL, b"", b"/hooks?key=a%20b%26c"),
        (URL + "?x=%2F&y", b"", b"/hooks?x=%2F&y&key=a%20b%26c"),
        (URL, b"key=evil&z=1&k%65y=worse", b"/hooks?z=1&key=a%20b%26c"),
    ],
)
async def test_an_api_key_in_the_query_is_the_only_one(
    egress: Egress, router: respx.MockRouter, url: str, query: bytes, target: bytes
) -> None:
    """The pair is appended, and none by its name passes from the sender's query, however it is spelt."""
    auth = ApiKeyAuth(header=None, query="key", value="a b&c")
    request = await sent(egress, router, api(url, query=True, auth=auth), query=query)
    assert request.url.raw_path == target


def standard(*secrets: str) -> tuple[Scheme, ...]:
    """One Standard Webhooks scheme for each secret, as the configuration has it."""
    return tuple(build("standard-webhooks", {"secrets": [secret.encode()]}) for secret in secrets)


async def test_a_signature_verifies_elsewhere(egress: Egress, router: respx.MockRouter) -> None:
    """A downstream verifies what it gets with the `standardwebhooks` package, by either of two secrets."""
    request = await sent(egress, router, api(URL, sign=standard(FIRST, SECOND)))
    for secret in (FIRST, SECOND):
        assert Webhook(secret).verify(request.content, dict(request.headers)) == {"a": 1}
    assert request.headers["webhook-id"] == "key_1"
    assert [one[:3] for one in request.headers["webhook-signature"].split(" ")] == ["v1,", "v1,"]


async def test_what_the_sender_signed_is_replaced(egress: Egress, router: respx.MockRouter) -> None:
    """Of the names that a signature writes there is one each, and it is Relay's."""
    theirs = (
        (b"webhook-id", b"msg_1"),
        (b"webhook-timestamp", b"1"),
        (b"webhook-signature", b"v1,x"),
        (b"x-a", b"1"),
    )
    request = await sent(egress, router, api(URL, sign=standard(FIRST)), headers=theirs)
    for name in ("webhook-id", "webhook-timestamp", "webhook-signature"):
        assert len(request.headers.get_list(name)) == 1
    assert request.headers["webhook-id"] == "key_1"
    assert request.headers["x-a"] == "1"
    Webhook(FIRST).verify(request.content, dict(request.headers))


@pytest.mark.parametrize("with_public", [False, True], ids=["seed", "seed and public key"])
async def test_an_ed25519_key_signs(egress: Egress, router: respx.MockRouter, *, with_public: bool) -> None:
    """A `whsk_` secret writes `v1a,`, which the public key verifies, beside an HMAC one."""
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes_raw()
    private = key.private_bytes_raw() + (public if with_public else b"")
    secret = "whsk_" + base64.b64encode(private).decode()
    request = await sent(egress, router, api(URL, sign=standard(secret, FIRST)))
    signatures = request.headers["webhook-signature"].split(" ")
    assert [one.partition(",")[0] for one in signatures] == ["v1a", "v1"]
    stamp = request.headers["webhook-timestamp"]
    key.public_key().verify(
        base64.b64decode(signatures[0].removeprefix("v1a,")), f"key_1.{stamp}.".encode() + request.content
    )
    Webhook(FIRST).verify(request.content, dict(request.headers))
    (receiver,) = standard("whpk_" + base64.b64encode(public).decode())
    receiver.verify(received(request), now=float(stamp))


def received(request: httpx.Request) -> Request:
    """The request as another Relay would get it."""
    return Request(
        method=request.method,
        path="/",
        query=request.url.query,
        headers=tuple(request.headers.raw),
        body=request.content,
        url=str(request.url),
        remote=None,
        received_at=0.0,
    )


@pytest.mark.parametrize("secret", ["whsk_", "whsk_abc", "whsk_" + base64.b64encode(bytes(64)).decode()])
def test_what_is_no_ed25519_key_is_refused(secret: str) -> None:
    """A private key of the wrong length, or whose two halves do not fit, is a mistake in the file."""
    with pytest.raises(ValueError, match="must be an Ed25519 private key"):
        standard(secret)


async def test_an_hmac_of_ones_own_covers_what_is_sent(egress: Egress, router: respx.MockRouter) -> None:
    """The signature is made last: the URL that is signed has the key that `auth` put into it."""
    options = {"secrets": [b"s"], "header": "x-sig", "signed": "{method} {url} {body}", "prefix": "sha256="}
    target = api(
        URL,
        auth=ApiKeyAuth(header=None, query="key", value="k"),
        sign=(build("hmac", options),),
        method="PUT",
    )
    request = await sent(egress, router, target, headers=((b"x-sig", b"old"),))
    digest = hmac.new(b"s", b'PUT https://billing.example/hooks?key=k {"a": 1}', hashlib.sha256).hexdigest()
    assert request.headers.get_list("x-sig") == [f"sha256={digest}"]


async def test_a_large_or_empty_body_is_signed_too(egress: Egress, router: respx.MockRouter) -> None:
    """The signature is over the bytes that are sent, whatever they are."""
    route = router.post(URL).respond(200)
    for body in (b"", b"\x00\xff" * 1_000_000):
        result = await egress.send(attempt_input(body=body), destination(api(URL, sign=standard(FIRST))))
        request = route.calls.last.request
        assert request.content == body
        (scheme,) = standard(FIRST)
        scheme.verify(received(request), now=float(request.headers["webhook-timestamp"]))
        assert result.status == 200
