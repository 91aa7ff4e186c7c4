"""Says what CEL writes in place of what other languages write."""

from __future__ import annotations

from collections.abc import Sequence

from relay.expressions.scan import Token

_OPERATORS = {
    "=": "CEL compares with ==",
    "&": "CEL writes && for and",
    "|": "CEL writes || for or",
    "{{": "this is an expression already: write it without {{ }}",
    "<>": "CEL writes != for unequal",
    "=>": "CEL writes >= for at least",
    "===": "CEL compares with ==",
    "!==": "CEL writes != for unequal",
}
_WORDS = {
    "and": "CEL writes && for and",
    "or": "CEL writes || for or",
    "not": "CEL writes ! for not",
    "is": "CEL compares with ==",
}


def advice(tokens: Sequence[Token], text: str) -> tuple[str, int] | None:
    """What to write instead, and where; None where nothing of another language is found.

    To be asked where `text` did not compile: a field may well be named `and`.
    """
    for index, token in enumerate(tokens):
        before = tokens[index - 1].text if index else ""
        if token.kind == "name" and before != ".":
            said = _WORDS.get(token.text.lower())
        else:
            said = _operator(token, text) if token.kind == "op" else None
        if said is not None:
            return said, token.offset
    return None


def _operator(token: Token, text: str) -> str | None:
    """The longest of the operators that begins where the token does, unless it is CEL's own."""
    for length in (3, 2):
        said = _OPERATORS.get(text[token.offset : token.offset + length])
        if said is not None:
            return said
    return _OPERATORS.get(token.text)
