"""What may be written about a scheme, and what is said about a mistake in it."""

from __future__ import annotations

import pytest

from relay import signatures
from relay.signatures import KINDS, OptionType
from tests.unit.signatures.helpers import EXAMPLES, NOW, request, scheme, signed, verdict


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("githb", {}, "no scheme githb; did you mean github?"),
        ("nothing-like-it", {}, "no scheme nothing-like-it$"),
        ("github", {}, "scheme github needs secrets"),
        ("github", {"secrets": None}, "scheme github needs secrets"),
        ("github", {"secrets": []}, "at least one secret"),
        ("github", {"secrets": [b"a", b""]}, "none that is empty"),
        ("github", {"secrets": b"abc"}, "a list of bytes"),
        ("github", {"secrets": ["abc"]}, "a list of bytes"),
        ("github", {"secrets": [b"a"], "tolerance": 5}, "github does not know tolerance; it takes secrets"),
        ("none", {"secrets": [b"a"]}, "none does not know secrets; it takes no options"),
        ("stripe", {"secrets": [b"a"], "tolerance": 0}, "tolerance must be a duration above zero"),
        ("stripe", {"secrets": [b"a"], "tolerance": float("nan")}, "above zero"),
        ("stripe", {"secrets": [b"a"], "tolerance": True}, "above zero"),
        ("stripe", {"secrets": [b"a"], "tolerance": "5m"}, "above zero"),
        ("hmac", {"secrets": [b"a"]}, "scheme hmac needs header"),
        ("hmac", {"secrets": [b"a"], "header": ""}, "header must not be empty"),
        ("hmac", {"secrets": [b"a"], "header": "X Y"}, "header must be the name of a header"),
        ("hmac", {"secrets": [b"a"], "header": "é"}, "header must be the name of a header"),
        ("hmac", {"secrets": [b"a"], "header": "X", "algorithm": "md5"}, "one of sha1, sha256, sha512"),
        ("hmac", {"secrets": [b"a"], "header": "X", "encoding": "HEX"}, "one of hex, base64, base64url"),
        ("hmac", {"secrets": [b"a"], "header": "X", "prefix": 5}, "prefix must be a text"),
        ("hmac", {"secrets": [b"a"], "header": "X", "signed": "{bdy}"}, "signed: {bdy} is unknown"),
        ("hmac", {"secrets": [b"a"], "header": "X", "signed": "{body}}"}, "signed: a brace stands alone"),
        ("hmac", {"secrets": [b"a"], "header": "X", "signed": "{url}"}, "signed: {body} is missing"),
        ("hmac", {"secrets": [b"a"], "header": "X", "signed": ""}, "signed: {body} is missing"),
        ("hmac", {"secrets": [b"a"], "header": "X", "signed": "{timestamp}{body}"}, "timestamp_header"),
        ("hmac", {"secrets": [b"a"], "header": "X", "signed": "{id}{body}"}, "name its header in id_header"),
        ("hmac", {"secrets": [b"a"], "header": "X", "timestamp_header": "Y"}, "anyone could change it"),
        ("basic", {"secrets": [b"a"]}, "basic needs username"),
        ("basic", {"secrets": [b"a"], "username": "a:b"}, "a colon would end it"),
        ("api-key", {"secrets": [b"a"]}, "either header or query"),
        ("api-key", {"secrets": [b"a"], "query": ""}, "either header or query"),
        ("api-key", {"secrets": [b"a"], "header": "X", "query": "k"}, "either header or query"),
        ("twilio", {"secrets": [b"a"], "algorithm": "sha512"}, "one of sha1, sha256"),
    ],
)
def test_a_mistake_is_named(kind: str, options: dict[str, object], message: str) -> None:
    """What is wrong with an option is said in words that name it."""
    with pytest.raises(ValueError, match=message.replace("{", r"\{").replace("}", r"\}")):
        signatures.build(kind, options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_described(kind: str) -> None:
    """Each kind and each of its options has a line for whoever writes the file, and defaults that hold."""
    info = KINDS[kind]
    assert info.name == kind
    if kind in EXAMPLES:
        assert scheme(kind).name == kind
    assert info.about
    names = [option.name for option in info.options]
    assert len(set(names)) == len(names)
    for option in info.options:
        assert option.about
        assert bool(option.choices) == (option.type is OptionType.CHOICE)
        assert not (option.required and option.default is not None)
        if option.default is not None:
            option.check(option.default)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_defaults_may_be_written_out(kind: str) -> None:
    """A file that spells every default is the file that leaves them out."""
    written: dict[str, object] = {option.name: option.default for option in KINDS[kind].options}
    spelled = scheme(kind, **{**written, **EXAMPLES[kind]})
    assert verdict(spelled, signed(scheme(kind), b"{}")) == verdict(scheme(kind), signed(spelled, b"{}"))


def test_a_header_may_be_written_in_any_case() -> None:
    """Header names are looked up in lower case however they were written."""
    made = signatures.build("hmac", {"secrets": [b"a"], "header": "X-SIG"})
    assert [name for name, _ in made.sign(b"", now=NOW, event_id="", url="")] == [b"content-type", b"x-sig"]


def test_a_tolerance_without_a_signed_time_does_nothing() -> None:
    """A generic source without a timestamp takes the default tolerance in silence."""
    made = signatures.build("hmac", {"secrets": [b"a"], "header": "X-Sig", "tolerance": 1})
    assert verdict(made, request(b"", signed(made, b"").headers), now=NOW + 10_000) == 0
