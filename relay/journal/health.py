"""Looking a journal over, of whichever engine it is; nothing is changed."""

from __future__ import annotations

from relay.errors import JournalError
from relay.journal.findings import Finding
from relay.journal.opening import database_path, is_postgres


def examine(url: str) -> list[Finding]:
    """Look a journal over, whether somebody serves it or not; what cannot be seen is a finding too."""
    try:
        if is_postgres(url):
            from relay.journal.postgres.health import examine_database  # noqa: PLC0415 - the driver is an extra

            return examine_database(url)
        from relay.journal.sqlite.health import examine_file  # noqa: PLC0415 - see above

        return examine_file(database_path(url))
    except JournalError as error:
        return [Finding(about="journal", ok=False, says=str(error))]
