"""What the keys of one destination mean for each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from relay.config.document import Document
from relay.config.shape.destinations import HTTP_ONLY, Destination
from relay.config.shape.outbound import ApiKeyAuth, StandardWebhooksSign
from relay.config.yaml.nodes import Entry, Leaf, Node, Table, locate
from relay.config.yaml.report import Report, quoted

_KINDS: Final = ("url", "email", "celery")
_STATUS_KEYS: Final = (("success",), ("retry", "give_up_on"), ("retry", "pause_on"))
_SIGNED: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_MOST_SHOWN = 3


def check_destinations(document: Document, destinations: Mapping[str, Destination], report: Report) -> None:
    """Put into the report what does not go together; `destinations` are those that could be read."""
    for name, entry in document.destinations.entries.items():
        if isinstance(entry.node, Table):
            _check_kind(entry, entry.node, f"destinations.{name}", report)
    for name, model in destinations.items():
        node = document.destinations.get(name)
        if isinstance(node, Table):
            _check_statuses(model, node, f"destinations.{name}", report)
            _check_headers(model, node, f"destinations.{name}", report)
            _check_tls(model, node, f"destinations.{name}", report)


def _check_kind(entry: Entry, node: Table, key: str, report: Report) -> None:
    """One of `url`, `email` and `celery`, and only what goes with it."""
    kinds = [kind for kind in _KINDS if not _is_nothing(node.get(kind))]
    if not kinds:
        report.add(entry.place, "expected one of `url`, `email` or `celery`", key=key)
        return
    for other in kinds[1:]:
        message = f"`{kinds[0]}` and `{other}` exclude each other: write two destinations"
        report.add(node.entries[other].place, message, key=f"{key}.{other}")
    for name in HTTP_ONLY if "url" not in kinds else ():
        if name in node.entries:
            message = (
                f"`{name}` goes with `url`, and this is {'an' if kinds[0] == 'email' else 'a'} {kinds[0]}"
            )
            report.add(node.entries[name].place, message, key=f"{key}.{name}")


def _is_nothing(node: Node | None) -> bool:
    return node is None or (isinstance(node, Leaf) and node.value is None)


def _check_statuses(model: Destination, node: Table, key: str, report: Report) -> None:
    """A status that is written in two places would mean two things."""
    written: list[tuple[tuple[str, ...], frozenset[int]]] = []
    for path in _STATUS_KEYS:
        owner = model if len(path) == 1 else model.retry
        if path[-1] not in owner.model_fields_set:
            continue
        statuses: frozenset[int] = getattr(owner, path[-1])
        for other, theirs in written:
            if both := sorted(statuses & theirs):
                shown = ", ".join(map(str, both[:_MOST_SHOWN])) + (", …" if len(both) > _MOST_SHOWN else "")
                _, place, _ = locate(node, other)
                at, _, _ = locate(node, path)
                message = f"{shown} stands in `{other[-1]}` too ({place}): a status means one thing"
                report.add(at.place, message, key=f"{key}.{'.'.join(path)}")
        written.append((path, statuses))


def _check_headers(model: Destination, node: Table, key: str, report: Report) -> None:
    """A header that `auth` or `sign` writes is written by nobody else."""
    headers = node.get("headers")
    made = dict(_made(model))
    for name, entry in headers.entries.items() if isinstance(headers, Table) else ():
        if name.lower() in made:
            message = f"`{made[name.lower()]}` writes this header: take one of the two out"
            report.add(entry.place, message, key=f"{key}.headers.{name}")
    if model.auth is not None and model.sign is not None:
        clash = {name for name, by in _made(model) if by == "auth"} & {
            name for name, by in _made(model) if by == "sign"
        }
        for name in sorted(clash):
            place = node.entries["sign"].place
            report.add(place, f"`auth` writes the header {quoted(name)} too", key=f"{key}.sign")


def _made(model: Destination) -> Iterator[tuple[str, str]]:
    """The headers that a destination's keys write, with the key of each."""
    if isinstance(model.auth, ApiKeyAuth):
        if model.auth.header is not None:
            yield model.auth.header.lower(), "auth"
    elif model.auth is not None:
        yield "authorization", "auth"
    if isinstance(model.sign, StandardWebhooksSign):
        yield from ((name, "sign") for name in _SIGNED)
    elif model.sign is not None:
        sign = model.sign
        for header in (sign.header, sign.timestamp_header, sign.id_header):
            if header is not None:
                yield header.lower(), "sign"


def _check_tls(model: Destination, node: Table, key: str, report: Report) -> None:
    if model.tls is not None and model.url is not None and model.url.lower().startswith("http://"):
        message = "`tls` goes with https://, and the URL begins with http://"
        report.add(node.entries["tls"].place, message, key=f"{key}.tls")
