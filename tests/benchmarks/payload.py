"""The events that are posted: JSON of one size, each with a number that is found without parsing."""

from __future__ import annotations

import hashlib
import hmac
import json

SIZE = 1024
ID_START = len(b'{"id":"')
ID_END = ID_START + 16
SECRET = "a secret of the benchmark"


def body(number: int) -> bytes:
    """One body of SIZE bytes; its number stands at ID_START:ID_END as 16 decimal digits."""
    event = {"id": f"{number:016d}", "type": "push", "repository": {"full_name": "acme/site"}, "pad": ""}
    bare = json.dumps(event, separators=(",", ":"))
    event["pad"] = "x" * (SIZE - len(bare))
    return json.dumps(event, separators=(",", ":")).encode()


def post_request(number: int, *, path: str, signed: bool) -> bytes:
    """The whole HTTP request that posts one event, signed as GitHub does where asked."""
    content = body(number)
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "User-Agent: GitHub-Hookshot/benchmark",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    if signed:
        digest = hmac.new(SECRET.encode(), content, hashlib.sha256).hexdigest()
        lines += [
            "X-GitHub-Event: push",
            f"X-GitHub-Delivery: 00000000-0000-0000-0000-{number:012d}",
            f"X-Hub-Signature-256: sha256={digest}",
        ]
    return "\r\n".join([*lines, "", ""]).encode() + content
