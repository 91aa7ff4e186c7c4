"""GitLab signs as Standard Webhooks does, or shows a plain token, as the hook was set up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from relay.errors import SignatureError
from relay.model import Headers, Request
from relay.signatures.event_fields import InBody, InHeader
from relay.signatures.mac.scheme import HmacScheme, hmac_scheme, identity_headers
from relay.signatures.mac.standard_webhooks import STANDARD_WEBHOOKS
from relay.signatures.scheme import Outgoing, Scheme, Verified
from relay.signatures.schemes.shared_secret import HeaderCarrier, TokenScheme

_TOKEN: Final = b"x-gitlab-token"
_MARKS: Final = (b"whsec_", b"v1,whsec_")

ROW: Final = replace(
    STANDARD_WEBHOOKS,
    name="gitlab",
    about="GitLab: a signing token (whsec_…) or the older X-Gitlab-Token, whichever the request carries",
    ed25519=b"",
    type_at=(InHeader(b"x-gitlab-event"), InBody(("object_kind",))),
    # The event's UUID comes last: hooks that a hook set off share it, and only retries share the others.
    id_at=(InHeader(b"webhook-id"), InHeader(b"idempotency-key"), InHeader(b"x-gitlab-event-uuid")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitLab(Scheme):
    """Both ways; `places` says which of the secrets each signing key is."""

    signing: HmacScheme | None = field(repr=False)
    places: tuple[int, ...]
    token: TokenScheme = field(repr=False)

    def verify(self, request: Request, *, now: float) -> Verified:
        """By the signature, where there is one and a key for it; else by the token."""
        signed = request.header(ROW.header) is not None
        if signed and self.signing is not None:
            found = self.signing.verify(request, now=now).secret_index
            return Verified(None if found is None else self.places[found])
        if request.header(_TOKEN) is None:
            raise SignatureError("mismatch" if signed else "missing", "no x-gitlab-token to go by")
        return self.token.verify(request, now=now)

    def write(self, outgoing: Outgoing) -> Headers:
        """Signed where the first secret is a signing token, else with the token."""
        if self.signing is not None and self.places[0] == 0:
            return self.signing.write(outgoing)
        headers = identity_headers(self, outgoing)
        del headers[b"webhook-id"]  # comes with a signature only
        return (*headers.items(), *self.token.write(outgoing))


def gitlab_scheme(secrets: Sequence[bytes], *, tolerance: float) -> GitLab:
    """Every secret may be shown as a token; those that begin with whsec_ are signing keys as well."""
    places = tuple(index for index, secret in enumerate(secrets) if secret.startswith(_MARKS))
    keys = [secrets[index] for index in places]
    return GitLab(
        name=ROW.name,
        secret_headers=frozenset({_TOKEN}),
        mac_headers=frozenset({ROW.header}),
        type_at=ROW.type_at,
        id_at=ROW.id_at,
        signing=hmac_scheme(ROW, keys, tolerance=tolerance) if keys else None,
        places=places,
        token=TokenScheme(name=ROW.name, carrier=HeaderCarrier(_TOKEN), credentials=tuple(secrets)),
    )
