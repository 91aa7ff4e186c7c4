"""Why a journal on PostgreSQL takes no event now, as far as it can be seen from beside the service."""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal.tables.schema import metadata

_LOCK_TIMEOUT = "1s"

_read_only = sa.text("""
    SELECT pg_is_in_recovery() AS replica, EXISTS (
        SELECT FROM pg_db_role_setting
        WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          AND setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = current_user))
          AND 'default_transaction_read_only=on' = ANY (setconfig)
    ) AS by_setting
""")
_forbidden = sa.text("""
    SELECT name FROM unnest(:names) AS name
    WHERE NOT (has_table_privilege(name, 'INSERT') AND has_table_privilege(name, 'UPDATE')
          AND has_table_privilege(name, 'DELETE')) ORDER BY name
""").bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text)))
_holders = sa.text("""
    SELECT DISTINCT activity.pid, activity.application_name, lock.relation::regclass::text AS name
    FROM pg_locks AS lock JOIN pg_stat_activity AS activity USING (pid)
    WHERE lock.granted AND lock.relation = ANY (SELECT to_regclass(name) FROM unnest(:names) AS name)
      AND lock.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
    ORDER BY activity.pid
""").bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text)))

_NAMES = sorted(metadata.tables)


def forbidden(connection: sa.Connection) -> str | None:
    """The server, the database or the role may not write."""
    found = connection.execute(_read_only).one()
    if found.replica:
        return "this server is a replica, or still recovers: set RELAY_JOURNAL to the one that takes writes"
    if found.by_setting:
        return "default_transaction_read_only is on for this database or role: RESET it"
    tables = [row.name for row in connection.execute(_forbidden, {"names": _NAMES})]
    if tables:
        return f"this role may not write to {', '.join(tables)}: GRANT it SELECT, INSERT, UPDATE and DELETE"
    return None


def ask_for_locks(connection: sa.Connection) -> None:
    """Take the locks that every writer takes, which keep nobody out; an error after a second without."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    connection.exec_driver_sql(f"LOCK TABLE {', '.join(_NAMES)} IN ROW EXCLUSIVE MODE")


def holders(connection: sa.Connection) -> str:
    """Who holds a lock that keeps writers out, and how to end that."""
    rows = connection.execute(_holders, {"names": _NAMES}).all()
    if not rows:
        return "its tables were locked for over a second"
    each = ", ".join(
        f"process {row.pid} ({row.application_name or 'unnamed'}) locks {row.name}" for row in rows
    )
    pids = "; ".join(f"SELECT pg_terminate_backend({pid})" for pid in sorted({row.pid for row in rows}))
    return f"{each}: end it, or {pids}"
