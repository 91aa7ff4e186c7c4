"""Every error that Relay raises on purpose, under one root.

    RelayError
    ├── ConfigError            the YAML file or the environment is wrong (exit code 2)
    ├── UsageError             a command was called with what it cannot use (exit code 2)
    ├── ExpressionError        a CEL expression does not compile, or failed on this event
    ├── SignatureError         a request is not from whom it says (401)
    ├── RequestRefused         the ingress answers with an error status of its own
    ├── FetchFailed            a document that Relay itself needs could not be had
    └── JournalError
        ├── JournalUnavailable the journal cannot take a write now (503, the sender keeps it)
        │   ├── JournalUnreadable  it cannot be read now, whatever it takes; its writer knows nothing of that
        │   └── InternalFault  a bug of Relay's own kept this from being written (503); it is reported
        ├── JournalRefused     this journal must not be used: gone, cut, damaged or too new (exit code 2)
        │   └── MayLack        it is sound, and a copy or an older file, so that events may be missing
        └── RowRefused         the engine refuses this one row; its neighbours in the batch are stored

What reaches a user says what is wrong, where, and what to do. An HTTP failure of a downstream is
no exception but a value: see `relay.model.Outcome`.
"""

from __future__ import annotations


class RelayError(Exception):
    """The root: whatever Relay raises on purpose."""


class ConfigError(RelayError):
    """The configuration cannot be used; the text is the whole report, one mistake a line.

    `unset` names the variables that it refers to and that are not set.
    """

    def __init__(self, report: str, *, unset: tuple[str, ...] = ()) -> None:
        super().__init__(report)
        self.unset = unset


class UsageError(RelayError):
    """A command was asked for something it cannot do; the text says what to do instead."""


class ExpressionError(RelayError):
    """An expression does not compile, or failed on an event; `offset` is its place, where known."""

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class SignatureError(RelayError):
    """A request did not verify; `reason` is one short word for logs, never shown to the sender."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


class RequestRefused(RelayError):
    """The ingress refuses a request: `status` for the sender, `reason` for the log.

    `url` is the address that a signature was checked over, where none of the secrets made it.
    """

    def __init__(
        self, status: int, reason: str, *, retry_after: int | None = None, url: str | None = None
    ) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.url = url


class FetchFailed(RelayError):
    """A document that Relay itself needs could not be had; the text names its host, and why."""


class JournalError(RelayError):
    """Something about the journal."""


class JournalUnavailable(JournalError):
    """The journal cannot take a write now; nothing was stored, and trying later may succeed."""


class JournalUnreadable(JournalUnavailable):
    """The journal cannot be read now."""


class InternalFault(JournalUnavailable):
    """A bug of Relay's own kept this one from being written; the log has its traceback."""


class JournalRefused(JournalError):
    """The journal must not be used as it is; the text says why and what to do."""


class MayLack(JournalRefused):
    """A journal that is sound and may lack events; `journal_id` names it where an operator accepts that."""

    def __init__(self, journal_id: str, why: str) -> None:
        super().__init__(
            f"{why}; or, if what it lacks may be lost, run `relay journal accept-loss {journal_id}`"
        )
        self.journal_id = journal_id


class RowRefused(JournalError):
    """The engine refuses this row itself, and would refuse it again."""
