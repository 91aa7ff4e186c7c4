"""Fetching what a signature needs: once for all, cached within bounds, and never a lasting failure."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from relay.config.model import Handshake, PathPattern, Source
from relay.errors import FetchFailed, RequestRefused
from relay.expressions import compile_program, compile_template
from relay.model import Request
from relay.process.clock import Clock
from relay.signatures import Answer, Scheme, Verified, build
from relay.source_verifier import (
    KEPT_FOR,
    MAX_DOCUMENTS,
    MAX_FETCHES,
    REFRESH_AFTER,
    Documents,
    Verifier,
    without_secrets,
)
from tests.unit.signatures.authority import CERTIFICATES, SNS_URL
from tests.unit.signatures.helpers import NOW, URL, parser, request, scheme, signed


class StoppedClock(Clock):
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> float:
        """The time as it was put."""
        return self.at


class Web:
    """What can be fetched; it counts, and fails where it has nothing."""

    def __init__(self, pages: Mapping[str, bytes]) -> None:
        self.pages = dict(pages)
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()

    async def fetch(self, url: str) -> bytes:
        """The page, once the web is open."""
        self.asked.append(url)
        await self.open.wait()
        if url not in self.pages:
            raise FetchFailed("id.example: not there")
        return self.pages[url]


def source(made: Scheme, *handshakes: Handshake) -> Source:
    """A source of this scheme."""
    return Source(
        name="in",
        path=PathPattern("/in/{site}"),
        methods=frozenset({"POST"}),
        scheme=made,
        max_body=1024,
        parse=1024,
        dedup=None,
        allow_ips=(),
        respond=None,
        rate=None,
        silent_after=None,
        handshakes=handshakes,
    )


def handshake(*when: str, body: str = "{{ query.challenge }}", status: int = 200) -> Handshake:
    """A handshake of a source's own."""
    placeholders = {"site"}
    return Handshake(
        when=tuple(compile_program(text, placeholders=placeholders) for text in when),
        status=status,
        content_type="text/plain",
        body=compile_template(body, placeholders=placeholders),
    )


async def refused(verifier: Verifier, where: Source, asked: Request) -> tuple[int, str, int | None]:
    """Status, reason and Retry-After of the refusal."""
    with pytest.raises(RequestRefused) as caught:
        await verifier.verify(where, asked, NOW)
    return caught.value.status, str(caught.value), caught.value.retry_after


async def test_a_scheme_without_documents_fetches_nothing() -> None:
    """Most requests are verified where they stand, and a refusal is a 401 with its reason."""
    web = Web({})
    verifier = Verifier(web.fetch, StoppedClock())
    where = source(scheme("github"))
    assert await verifier.verify(where, signed(where.scheme, b"{}"), NOW) == Verified(0)
    assert await refused(verifier, where, request(b"{}", ())) == (401, "signature_missing", None)
    assert web.asked == []


async def test_a_certificate_is_fetched_once_and_kept_for_an_hour() -> None:
    """However many ask, and at one time, a document is fetched once until it is an hour old."""
    web, clock = Web(CERTIFICATES), StoppedClock()
    verifier = Verifier(web.fetch, clock)
    where = source(scheme("sns"))
    sent = signed(where.scheme, b"hello")
    web.open.clear()
    asking = [asyncio.create_task(verifier.verify(where, sent, NOW)) for _ in range(20)]
    await asyncio.sleep(0)
    asking[0].cancel()
    web.open.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert results[1:] == [Verified(0)] * 19
    assert isinstance(results[0], asyncio.CancelledError)
    clock.at += KEPT_FOR - 1
    await verifier.verify(where, sent, NOW)
    assert web.asked == [SNS_URL]
    clock.at += 2
    await verifier.verify(where, sent, NOW)
    assert web.asked == [SNS_URL] * 2


async def test_a_certificate_that_cannot_be_had_is_a_503_and_not_remembered() -> None:
    """The sender keeps its event, and the next request tries again."""
    web = Web({})
    verifier = Verifier(web.fetch, StoppedClock())
    where = source(scheme("sns"))
    sent = signed(where.scheme, b"hello")
    for _ in range(2):
        assert await refused(verifier, where, sent) == (503, "certificate_unavailable", 5)
    web.pages[SNS_URL] = b"<html>sorry</html>"
    assert await refused(verifier, where, sent) == (503, "certificate_unavailable", 5)
    web.pages[SNS_URL] = CERTIFICATES[SNS_URL]
    assert await verifier.verify(where, sent, NOW) == Verified(0)
    assert len(web.asked) == 4


async def test_nothing_is_fetched_for_a_request_that_is_refused_anyway() -> None:
    """Another topic, or a certificate elsewhere, ends before the web is asked."""
    web = Web(CERTIFICATES)
    verifier = Verifier(web.fetch, StoppedClock())
    sent = signed(scheme("sns"), b"hello")
    other = source(scheme("sns", topics=["arn:aws:sns:eu-west-1:1:other"]))
    assert await refused(verifier, other, sent) == (401, "signature_topic", None)
    moved = json.dumps({**json.loads(sent.body), "SigningCertURL": "https://evil.example/a.pem"}).encode()
    asked = replace(sent, body=moved)
    assert await refused(verifier, source(scheme("sns")), asked) == (401, "signature_certificate", None)
    assert web.asked == []


async def test_documents_are_bounded_in_number_and_in_flight() -> None:
    """Strangers who name ever new certificates fill no memory, and open no more than a few connections."""
    web = Web({f"https://id.example/{number}": b"x" for number in range(MAX_DOCUMENTS * 2)})
    documents = Documents(web.fetch, StoppedClock())
    for url in web.pages:
        assert await documents.get(url) == b"x"
    first, last = next(iter(web.pages)), list(web.pages)[-1]
    asked = len(web.asked)
    await documents.get(last)
    assert len(web.asked) == asked
    await documents.get(first)
    assert len(web.asked) == asked + 1
    web.open.clear()
    urls = [f"https://id.example/{number}" for number in range(2, 2 + MAX_FETCHES)]
    waiting = [asyncio.create_task(documents.get(url)) for url in urls]
    await asyncio.sleep(0)
    assert await documents.get("https://id.example/1") is None
    web.open.set()
    assert await asyncio.gather(*waiting) == [b"x"] * MAX_FETCHES


async def test_a_key_set_is_fetched_anew_for_a_new_key_but_not_for_ever() -> None:
    """A token by a key that was published since verifies, and strange key ids set off one fetch a minute."""
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    url = "https://id.example/keys"
    web, clock = Web({url: key_set(("old", old))}), StoppedClock()
    verifier = Verifier(web.fetch, clock)
    options = {"jwks_url": url, "issuer": "https://id.example", "audience": ["relay"]}
    where = source(build("jwt", options))
    assert await verifier.verify(where, by(old, "old"), NOW) == Verified(None)
    web.pages[url] = key_set(("old", old), ("new", new))
    assert await refused(verifier, where, by(new, "new")) == (401, "signature_unknown_key", None)
    clock.at += REFRESH_AFTER + 1
    assert await verifier.verify(where, by(new, "new"), NOW) == Verified(None)
    for _ in range(5):
        assert await refused(verifier, where, by(new, "strange")) == (401, "signature_unknown_key", None)
    assert len(web.asked) == 2


def key_set(*entries: tuple[str, ec.EllipticCurvePrivateKey]) -> bytes:
    """A key set with these keys by their ids."""
    to_jwk = jwt.algorithms.ECAlgorithm.to_jwk
    keys = [{**to_jwk(key.public_key(), as_dict=True), "kid": kid} for kid, key in entries]
    return json.dumps({"keys": keys}).encode()


def by(key: ec.EllipticCurvePrivateKey, kid: str) -> Request:
    """A request with a token by this key."""
    claims: dict[str, Any] = {"iss": "https://id.example", "aud": "relay", "exp": int(NOW) + 60}
    token = jwt.encode(claims, key, algorithm="ES256", headers={"kid": kid})
    return request(b"{}", ((b"authorization", b"Bearer " + token.encode()),))


async def test_a_subscription_is_confirmed_by_a_visit() -> None:
    """The address that a verified message names is visited; where it cannot be, the sender comes back."""
    confirm = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"
    web = Web({confirm: b"<ok/>"})
    verifier = Verifier(web.fetch, StoppedClock())
    where = source(scheme("sns"))
    fields = {"Type": "SubscriptionConfirmation", "Message": "m", "Token": "abc", "SubscribeURL": confirm}
    asked = signed(where.scheme, json.dumps(fields).encode())
    await verifier.confirm(where, asked, parser(asked))
    assert web.asked == [confirm]
    event = signed(where.scheme, b"hello")
    await verifier.confirm(where, event, parser(event))
    assert web.asked == [confirm]
    web.pages.clear()
    with pytest.raises(RequestRefused) as caught:
        await verifier.confirm(where, asked, parser(asked))
    assert (caught.value.status, caught.value.reason) == (503, "confirmation_failed")


def test_a_sources_own_handshake_comes_by_its_conditions() -> None:
    """The first whose conditions all hold answers; one that fails on the request is no match."""
    verifier = Verifier(Web({}).fetch, StoppedClock())
    where = source(
        scheme("github"),
        handshake('query.missing == "1"', body="never"),
        handshake("true", body="{{ body.missing }}"),
        handshake('method == "GET"', "has(query.challenge)"),
        handshake('body.type == "ping"', body='{"pong":"{{ path.site }}"}', status=201),
    )
    asked = request(b"", (), url=f"{URL}?challenge=a%20b", method="GET")
    assert verifier.greet(where, asked, {"site": "berlin"}) == Answer(200, "text/plain", b"a b")
    ping = request(b'{"type": "ping"}', ())
    assert verifier.greet(where, ping, {"site": "b"}) == Answer(201, "text/plain", b'{"pong":"b"}')
    assert verifier.greet(where, request(b'{"type": "event"}', ()), {"site": "b"}) is None
    assert verifier.greet(where, request(b'{"type": "ping"}' + b" " * 1024, ()), {"site": "b"}) is None


def test_a_handshake_sees_no_secret() -> None:
    """What a handshake may echo is what is stored: no credentials, no plain secrets."""
    verifier = Verifier(Web({}).fetch, StoppedClock())
    echo = handshake(
        "true", body='{{ get(headers, "x-api-key", "-") }}{{ get(headers, "authorization", "-") }}'
    )
    headers = ((b"x-api-key", b"canary"), (b"authorization", b"canary"))
    answer = verifier.greet(source(scheme("api-key"), echo), request(b"", headers), {"site": "b"})
    assert answer is not None
    assert answer.body == b"--"


@pytest.mark.parametrize("kind", ["twilio", "hubspot", "square", "github", "stripe"])
async def test_a_wrong_signature_over_a_url_names_the_url(kind: str) -> None:
    """Behind a proxy it is mostly the address that is wrong; other refusals, and other schemes, name none."""
    verifier = Verifier(Web({}).fetch, StoppedClock())
    made = scheme(kind)
    good = signed(made, b"a=1")
    wrong = replace(good, url=f"https://inside.internal/?{good.url.partition('?')[2]}", body=b"a=1&b=2")
    for asked, reason in ((wrong, "mismatch"), (replace(wrong, headers=()), "missing")):
        with pytest.raises(RequestRefused) as caught:
            await verifier.verify(source(made), asked, NOW)
        named = made.needs_url and reason == "mismatch"
        assert (caught.value.reason, caught.value.url) == (
            f"signature_{reason}",
            asked.url if named else None,
        )


def test_a_handshake_by_a_stranger_is_a_403() -> None:
    """A wrong verify token is refused with a reason of its own."""
    verifier = Verifier(Web({}).fetch, StoppedClock())
    url = f"{URL}?hub.mode=subscribe&hub.verify_token=wrong&hub.challenge=1"
    with pytest.raises(RequestRefused) as caught:
        verifier.greet(source(scheme("meta")), request(b"", (), url=url, method="GET"), {"site": "b"})
    assert (caught.value.status, caught.value.reason) == (403, "handshake_verify_token")


def test_what_is_kept_of_a_request() -> None:
    """Credentials and plain secrets are left out, however their names are escaped."""
    plain = request(b"{}", ((b"x-github-event", b"push"),), url=f"{URL}?a=1")
    assert without_secrets(plain, scheme("github")) is plain
    made = build("api-key", {"query": "key", "secrets": [b"canary"]})
    headers = ((b"cookie", b"c"), (b"authorization", b"c"), (b"proxy-authorization", b"c"), (b"x", b"1"))
    kept = without_secrets(request(b"{}", headers, url=f"{URL}?a=1&k%65y=canary&b"), made)
    assert (kept.headers, kept.query) == (((b"x", b"1"),), b"a=1&b")
