"""Every example in config/examples as the real service runs it: events go in, and arrive where it says.

One service takes them one after the other, by reload: a start takes two seconds and is the same for all.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import ssl
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from relay import config
from relay.signatures.schemes.jwt import WebToken
from tests.support import Receiver, RelayProcess, Reply
from tests.support.certificates import Authority
from tests.support.mailbox import Mailbox

FOLDER = Path(__file__).parents[2] / "config" / "examples"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SAMPLE = '{"hello":"relay"}'
TOKEN = Reply(body=b'{"access_token": "t0ken", "expires_in": 3600}')


@dataclass(frozen=True, slots=True)
class Post:
    """One event: to which source, at its path or at another, with a body and a type; and its answer."""

    source: str
    body: str = SAMPLE
    type: str | None = None
    path: str | None = None
    answer: int = 202


@dataclass(frozen=True, slots=True)
class Journey:
    """What is posted to an example, a command after it, and the requests that come of it: HOST/PATH.

    replies  the statuses that paths answer first; all else is 200
    tidy     a command that leaves nothing behind for the next example, where anything is left
    """

    posts: tuple[Post, ...]
    arrives: tuple[str, ...]
    command: tuple[str, ...] = ()
    replies: tuple[tuple[str, int], ...] = ()
    tidy: tuple[str, ...] = ()


def stripe(kind: str, **fields: object) -> Post:
    """An event as Stripe sends it: its type and its object are in the body."""
    body = {"id": f"evt_{kind}", "type": kind, "data": {"object": {"customer": "cus_1", **fields}}}
    return Post("stripe", json.dumps(body))


PULL_REQUEST = {
    "action": "opened",
    "number": 7,
    "sender": {"login": "mona"},
    "pull_request": {"title": "A fix", "draft": False, "labels": [{"name": "bug"}]},
    "repository": {"full_name": "Acme/App"},
}
RELEASE = {
    "action": "published",
    "repository": {"name": "app"},
    "release": {"tag_name": "v1", "name": "One", "body": "It is out."},
}
ORDER = '{"order": "A1", "status": "paid"}'
GITHUB = (Post("github"),)

JOURNEYS = {
    "01-limits": Journey((Post("shop"),), ("warehouse.internal/webhooks",)),
    "02-breaker-and-pause": Journey(
        GITHUB,
        ("fragile.internal/webhooks", "steady.internal/webhooks"),
        replies=(("fragile.internal/webhooks", 410),),
        tidy=("cancel", "--destination", "fragile", "--yes"),
    ),
    "03-retry": Journey(
        (Post("stripe"),),
        ("billing.internal/webhooks", "crm.internal/webhooks", "ledger.internal/webhooks"),
        replies=(("billing.internal/webhooks", 503), ("ledger.internal/webhooks", 404)),
        tidy=("cancel", "--destination", "growing", "--yes"),
    ),
    "04-order": Journey(
        (stripe("customer.subscription.updated"), stripe("invoice.paid", id="in_1"), stripe("charge.failed")),
        ("accounts.internal/webhooks", "ledger.internal/webhooks", "accounts.internal/webhooks"),
    ),
    "05-auth-bearer": Journey(GITHUB, ("api.example.com/events",)),
    "06-auth-basic": Journey(GITHUB, ("jenkins.internal/github-webhook/",)),
    "07-auth-api-key": Journey(
        GITHUB, ("metrics.example.com/ingest", f"maps.example.com/changes?key={SECRET}")
    ),
    "08-auth-oauth2": Journey((Post("hubspot"),), ("id.internal/oauth2/token", "crm.internal/events")),
    "09-tls": Journey(GITHUB, ("build.internal/webhooks", "payments.internal/webhooks")),
    "10-signing": Journey((Post("stripe"),), ("partner.example.com/webhooks", "legacy.internal/webhooks")),
    "11-egress-guard": Journey(
        GITHUB, ("10.1.2.3:8080/webhooks",), tidy=("cancel", "--destination", "partner", "--yes")
    ),
    "12-transforms": Journey(
        (
            Post("github", json.dumps(PULL_REQUEST), "pull_request.opened"),
            stripe("invoice.paid", amount_paid=100),
            stripe("invoice.paid", amount_paid=0),
        ),
        (f"chat.example.com/hooks/{SECRET}", "metrics.internal/points"),
    ),
    "13-url-holes-and-query": Journey(
        (
            Post("plant", path="plants/berlin/events?line=3"),
            Post("shop", '{"id": 820982911946154508}', "orders/create"),
            Post("shop"),
        ),
        (
            "mes.internal/sites/berlin/events?line=3",
            "orders.internal/orders/820982911946154508?topic=orders%2Fcreate",
        ),
    ),
    "14-email": Journey(
        (
            Post("github", json.dumps(RELEASE), "release.published"),
            Post("github", '{"action": "created"}', "secret_scanning_alert.created"),
        ),
        (),
    ),
    "15-celery": Journey((stripe("reporting.report_run.succeeded"), stripe("file.created")), ()),
    "16-alerts": Journey(
        GITHUB,
        ("build.internal/webhooks", f"chat.example.com/hooks/{SECRET}"),
        command=("pause", "build"),
        tidy=("resume", "build"),
    ),
    "17-handshakes": Journey(
        (
            Post("slack", '{"type": "url_verification", "challenge": "abc"}', answer=200),
            Post("slack", '{"type": "event_callback", "event": {"type": "message"}}'),
            Post("meta"),
            Post("graph"),
            Post("own", '{"type": "ping", "id": 3}', answer=200),
            Post("own"),
        ),
        ("app.internal/webhooks",) * 4,
    ),
    "18-schemes": Journey(
        tuple(map(Post, ("github", "standard", "any-hmac", "token", "password", "key", "jwt", "trial"))),
        ("id.example.com/keys", *("app.internal/webhooks",) * 8),
    ),
    "19-secret-rotation": Journey((Post("github"), Post("stripe")), ("app.internal/webhooks",) * 2),
    "20-fan-out": Journey(
        (Post("shop", type="orders/create"), Post("shop", type="products/update")),
        (
            "warehouse.internal/webhooks",
            "billing.internal/webhooks",
            "analytics.internal/webhooks",
            "analytics.internal/webhooks",
        ),
    ),
    "21-dedup": Journey(
        (Post("github"), Post("orders", ORDER), Post("orders", ORDER)), ("app.internal/webhooks",) * 2
    ),
    "22-defaults": Journey(GITHUB, ("build.internal/webhooks", "partner.example.com/webhooks")),
}


class World:
    """All that the examples name, on this machine: an authority, downstreams, mail servers, a key set."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self._pair = self.authority.issue("127.0.0.1")
        tls = self._pair.server(clients=self.authority.cert)
        tls.verify_mode = ssl.CERT_OPTIONAL
        self.downstream = stack.enter_context(Receiver(tls=tls))
        self.downstream.script(TOKEN, path="/id.internal/oauth2/token")
        self._key = ec.generate_private_key(ec.SECP256R1())
        keys = {"keys": [ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)]}
        self.downstream.script(Reply(body=json.dumps(keys).encode()), path="/id.example.com/keys")
        login = ("relay", SECRET)
        self.mail = {
            "mail.example.com:587": stack.enter_context(Mailbox(folder, certificate=self._pair, login=login)),
            "localhost:25": stack.enter_context(Mailbox(folder)),
        }

    def furnish(self, text: str) -> str:
        """The text with what it names replaced by what is here; the host moves into the path."""
        text = re.sub(r"https?://([\w.:-]+\.(?:internal|example\.com|\d:8080))", self._moved, text)
        text = text.replace("/run/secrets/", f"{self.folder}/")
        for path in re.findall(r"\$\{file:([^}]+)\}", text):
            Path(path).write_text(SECRET)
        text = text.replace("203.0.113.0/24", "127.0.0.1/32").replace("10.1.0.0/16", "127.0.0.1/32")
        text = text.replace("redis://localhost:6379/0", "filesystem://")
        if "egress:" in text:  # what is denied must be another address than what is allowed
            text = text.replace("127.0.0.1", "127.0.0.2", 1)
        for address, mailbox in self.mail.items():
            text = text.replace(address, f"127.0.0.1:{mailbox.port}")
        return (
            text.replace("certificates/internal-ca.pem", str(self.authority.cert))
            .replace("certificates/relay.pem", str(self._pair.cert))
            .replace("certificates/relay.key", str(self._pair.key))
        )

    @property
    def environ(self) -> dict[str, str]:
        """Every variable that an example names, and whom TLS trusts."""
        texts = [path.read_text() for path in FOLDER.iterdir()]
        names = re.findall(r"\$\{([A-Z_]+)[:}]", "".join(texts))
        own = {"CELERY_BROKER": "filesystem://", "SSL_CERT_FILE": str(self.authority.cert)}
        return dict.fromkeys(names, SECRET) | own

    def token(self, scheme: WebToken) -> list[tuple[bytes, bytes]]:
        """The header of one whom the issuer of that key set has given a token."""
        claims = {"iss": scheme.issuer, "aud": list(scheme.audience), "exp": int(time.time() + 300)}
        token = jwt.encode(claims, self._key, algorithm="ES256")
        return [(b"Authorization", f"Bearer {token}".encode())]

    def _moved(self, match: re.Match[str]) -> str:
        return f"{self.downstream.url}/{match[1]}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The world around the examples."""
    with ExitStack() as stack:
        yield World(tmp_path_factory.mktemp("world"), stack)


@pytest.fixture(scope="module")
def relay(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A service that starts on one example, and ends in good order after the last one."""
    folder = tmp_path_factory.mktemp("relay")
    first = (FOLDER / f"{next(iter(JOURNEYS))}.yaml").read_text()
    for name in ("data_in", "data_out"):
        (folder / name).mkdir()
    with RelayProcess(folder, world.furnish(first), env=world.environ) as service:
        yield service
        ledger = service.cli("ledger", "--json").json()
        assert ledger["balanced"] is True
        assert service.term() == 0
        assert service.log("route.error") == []
        assert SECRET not in (folder / "serve-1.out").read_text()


def apply(example: str, world: World, relay: RelayProcess) -> None:
    """Let the service take an example, and be ready with it."""
    relay.config.write_text(world.furnish((FOLDER / f"{example}.yaml").read_text()))
    before = len(relay.log("config.loaded"))
    relay.signal(signal.SIGHUP)
    relay.wait_log("config.loaded", before + 1)
    assert relay.get("/readyz").status == 200


def send(relay: RelayProcess, world: World, posts: tuple[Post, ...]) -> None:
    """Post them one after the other, each signed as its sender would."""
    sources = config.load(relay.config, world.environ).sources
    for post in posts:
        path, now, event_id = post.path or post.source, time.time(), str(uuid.uuid4())
        scheme = sources[post.source].scheme
        body = scheme.fill(post.body.encode(), now=now, event_id=event_id)
        url = f"{relay.url}/hooks/{path}"
        headers = (
            world.token(scheme)
            if isinstance(scheme, WebToken)
            else scheme.sign(body, now=now, event_id=event_id, url=url, method="POST", event_type=post.type)
        )
        answer = relay.post(path, body, headers=headers)
        assert answer.status == post.answer, answer


def test_every_example_is_run() -> None:
    """None is without events of its own."""
    assert JOURNEYS.keys() == {path.stem for path in FOLDER.iterdir()}


@pytest.mark.parametrize("example", JOURNEYS)
def test_events_pass_through_an_example(example: str, world: World, relay: RelayProcess) -> None:
    """Each post is answered as it should be, and goes to all that the routes name and to nobody else."""
    journey = JOURNEYS[example]
    world.downstream.clear()
    for path, status in journey.replies:
        world.downstream.script(status, path=f"/{path}")
    apply(example, world, relay)
    assert relay.post("nobody").status == 404
    send(relay, world, journey.posts)
    if journey.command:
        relay.cli(*journey.command)
    world.downstream.wait(len(journey.arrives))
    if example in SEEN:
        SEEN[example](world, relay)
    came = [request.target.removeprefix("/") for request in world.downstream.requests]
    assert sorted(came) == sorted(journey.arrives)
    if journey.tidy:
        relay.cli(*journey.tidy, check=False)  # on a slow machine the next attempt has delivered it already


def _request(world: World, host: str) -> dict[str, str]:
    """The headers of the one request that went to a host, and its body as `body`."""
    (found,) = [request for request in world.downstream.requests if request.path.startswith(f"/{host}/")]
    headers = {name.decode().lower(): value.decode() for name, value in found.headers}
    return headers | {"body": found.body.decode()}


def _is_paused(_world: World, relay: RelayProcess) -> None:
    relay.wait_log("destination.paused", destination="fragile")
    relay.wait_log("attempt.finished", destination="steady", decision="delivered")


def _is_tried_again_or_given_up(_world: World, relay: RelayProcess) -> None:
    (failed,) = relay.wait_log("attempt.finished", destination="growing", decision="retry")
    assert failed["next_attempt_at"]
    relay.wait_log("delivery.dead", destination="strict", reason="give_up_on")


def _is_bearer(world: World, _relay: RelayProcess) -> None:
    assert _request(world, "api.example.com")["authorization"] == f"Bearer {SECRET}"


def _is_basic(world: World, _relay: RelayProcess) -> None:
    pair = base64.b64encode(f"relay:{SECRET}".encode()).decode()
    assert _request(world, "jenkins.internal")["authorization"] == f"Basic {pair}"


def _is_keyed(world: World, _relay: RelayProcess) -> None:
    assert _request(world, "metrics.example.com")["x-api-key"] == SECRET


def _token_is_used(world: World, _relay: RelayProcess) -> None:
    assert _request(world, "crm.internal")["authorization"] == "Bearer t0ken"


def _is_signed(world: World, _relay: RelayProcess) -> None:
    assert _request(world, "partner.example.com")["webhook-signature"].startswith("v1,")
    assert _request(world, "legacy.internal")["x-signature"].startswith("sha256=")


def _is_guarded(_world: World, relay: RelayProcess) -> None:
    relay.wait_log("attempt.finished", destination="partner", outcome="blocked_address")


def _is_transformed(world: World, _relay: RelayProcess) -> None:
    told = _request(world, "chat.example.com")
    assert json.loads(told["body"]) == {
        "text": "mona opened #7: A fix",
        "labels": ["bug"],
        "draft": False,
        "team": "none",
    }
    assert told["x-repository"] == "acme/app"
    assert "x-hub-signature-256" not in told
    assert _request(world, "metrics.internal")["body"].endswith(" amount=100")


def _is_mailed(world: World, _relay: RelayProcess) -> None:
    (release,), (alert,) = (mailbox.wait(1) for mailbox in world.mail.values())
    assert (release.message["Subject"], release.tls, release.login) == ("app v1 is out", True, "relay")
    assert alert.recipients == ("ops@example.com",)


def _are_published(_world: World, relay: RelayProcess) -> None:
    for name in ("reports", "pictures"):
        relay.wait_log("attempt.finished", destination=name, decision="delivered")
    tasks = [path.read_text() for path in (relay.folder / "data_out").iterdir()]
    assert sorted(re.findall(r'"task": "([a-z.]+)"', " ".join(tasks))) == [
        "pictures.tasks.store",
        "reports.tasks.build",
    ]


def _is_told(world: World, _relay: RelayProcess) -> None:
    assert "build" in json.loads(_request(world, "chat.example.com")["body"])["text"]


def _has_defaults(world: World, _relay: RelayProcess) -> None:
    ours, theirs = _request(world, "build.internal"), _request(world, "partner.example.com")
    assert (ours["x-sent-by"], theirs["x-sent-by"]) == ("relay", "relay")
    assert "authorization" in ours
    assert "authorization" not in theirs


SEEN: dict[str, Callable[[World, RelayProcess], None]] = {
    "02-breaker-and-pause": _is_paused,
    "03-retry": _is_tried_again_or_given_up,
    "05-auth-bearer": _is_bearer,
    "06-auth-basic": _is_basic,
    "07-auth-api-key": _is_keyed,
    "08-auth-oauth2": _token_is_used,
    "10-signing": _is_signed,
    "11-egress-guard": _is_guarded,
    "12-transforms": _is_transformed,
    "14-email": _is_mailed,
    "15-celery": _are_published,
    "16-alerts": _is_told,
    "22-defaults": _has_defaults,
}
