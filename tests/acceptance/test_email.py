"""An event on its way into a mailbox, by the real service and a real SMTP server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.support import RelayProcess
from tests.support.certificates import Authority
from tests.support.mailbox import Mailbox

StartRelay = Callable[..., RelayProcess]


def test_an_event_becomes_a_letter(tmp_path: Path, start_relay: StartRelay) -> None:
    """A transform writes subject and text; it goes by STARTTLS and login, once the server takes it."""
    authority = Authority(tmp_path / "tls")
    with Mailbox(
        tmp_path,
        certificate=authority.issue("localhost"),
        login=("relay", "s3cret"),
        replies=("451 4.3.0 try again later",),
    ) as mailbox:
        relay = start_relay(
            f"""
sources: {{shop: {{verify: none}}}}
destinations:
  mail:
    email:
      to: [ops@example.com, boss@example.com]
      from: relay@example.com
      smtp: "smtp://relay:${{SMTP_PASSWORD}}@localhost:{mailbox.port}"
      starttls: true
    retry: {{first_wait: 200ms, jitter: 0}}
routes:
  - source: shop
    to: mail
    transform: {{subject: "Order {{{{ body.id }}}}", text: "It costs {{{{ body.amount }}}} EUR.\\n"}}
""",
            env={"SMTP_PASSWORD": "s3cret", "SSL_CERT_FILE": str(authority.cert)},
        )
        relay.post("shop", '{"id": 7, "amount": 12.5}')
        (letter,) = mailbox.wait(1)
        assert len(mailbox.attempts) == 2
    assert letter.message["Subject"] == "Order 7"
    assert letter.message.get_content().strip() == "It costs 12.5 EUR."
    assert (letter.tls, letter.login) == (True, "relay")
    assert letter.recipients == ("ops@example.com", "boss@example.com")
    (retried,) = relay.wait_log("attempt.finished", decision="retry")
    assert (retried["outcome"], retried["status"]) == ("http_status", 451)
    relay.wait_log("attempt.finished", decision="delivered", status=250)
    assert "s3cret" not in relay.output()
    assert "s3cret" not in relay.cli("check", "--resolved").out


def test_a_mailbox_that_is_full_for_good_can_be_given_up(tmp_path: Path, start_relay: StartRelay) -> None:
    """`give_up_on` knows SMTP's statuses as it knows HTTP's."""
    with Mailbox(tmp_path, replies=("552 5.2.2 mailbox full",)) as mailbox:
        relay = start_relay(
            f"""
sources: {{shop: {{verify: none}}}}
destinations:
  mail:
    email: {{to: ops@example.com, from: relay@example.com, smtp: "smtp://127.0.0.1:{mailbox.port}"}}
    retry: {{give_up_on: [552]}}
routes: [{{source: shop, to: mail}}]
"""
        )
        relay.post("shop", "{}")
        (dead,) = relay.wait_log("delivery.dead")
    assert (dead["reason"], dead["status"]) == ("give_up_on", 552)
    assert "mailbox full" in dead["error"]


def test_a_denied_mail_server_is_not_dialled(tmp_path: Path, start_relay: StartRelay) -> None:
    """`egress.deny` holds for SMTP as well."""
    with Mailbox(tmp_path) as mailbox:
        relay = start_relay(
            f"""
sources: {{shop: {{verify: none}}}}
destinations:
  mail:
    email: {{to: ops@example.com, from: relay@example.com, smtp: "smtp://127.0.0.1:{mailbox.port}"}}
    retry: {{max_attempts: 1}}
routes: [{{source: shop, to: mail}}]
egress: {{deny: 127.0.0.0/8}}
"""
        )
        relay.post("shop", "{}")
        (dead,) = relay.wait_log("delivery.dead")
        assert dead["outcome"] == "blocked_address"
        assert mailbox.attempts == []
