"""Verification schemes, each with its signer: from whom a request is and what it is called."""

from relay.signatures.options import SAMPLE, KindInfo, Option, OptionType
from relay.signatures.registry import KINDS, build
from relay.signatures.scheme import Answer, Identity, Scheme, Verified, query_name

__all__ = [
    "KINDS",
    "SAMPLE",
    "Answer",
    "Identity",
    "KindInfo",
    "Option",
    "OptionType",
    "Scheme",
    "Verified",
    "build",
    "query_name",
]
