"""Who has been in a transaction for long: no row that died since its begin can be removed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

_open = sa.text("""
    SELECT 'process ' || pid AS what, coalesce(usename, '') AS who, application_name AS program, state,
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND xact_start IS NOT NULL
    UNION ALL
    SELECT 'prepared transaction ' || gid, owner::text, '', 'prepared',
           extract(epoch FROM clock_timestamp() - prepared)::float8
    FROM pg_prepared_xacts WHERE database = current_database()
    ORDER BY age DESC LIMIT 5
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One that is open: whose, since how many seconds, and how to end it."""

    who: str
    seconds: float
    state: str
    remedy: str


def oldest_transactions(connection: sa.Connection) -> list[Transaction]:
    """At most five of this database, the oldest first, this connection's own left out."""
    return [
        Transaction(
            who=f"{row.what} ({' '.join(f'{row.who} {row.program}'.split())})",
            seconds=row.age,
            state=row.state or "unknown",
            remedy="COMMIT or ROLLBACK PREPARED it"
            if row.state == "prepared"
            else f"end it: SELECT pg_terminate_backend({row.what.split()[1]}); and set"
            " idle_in_transaction_session_timeout for its role",
        )
        for row in connection.execute(_open)
    ]
