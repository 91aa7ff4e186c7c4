"""A journal on PostgreSQL looked over: settings that lose events, what keeps vacuum back, what has grown."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
import sqlalchemy as sa

from relay.journal import findings
from relay.journal.engine import error_text
from relay.journal.findings import Finding, probed
from relay.journal.postgres.engine import Address, PostgresEngine
from relay.journal.postgres.lease import SERVER_TIME, living
from relay.journal.postgres.long_transactions import oldest_transactions
from relay.journal.postgres.opening import view_database
from relay.journal.postgres.size import bytes_on_disk
from relay.journal.tables.schema import metadata

_OLD = 60.0
"""Seconds after which a transaction keeps enough dead rows to be told."""

_MANY_DEAD = 20_000
_BLOATED = 4
_SMALL_INDEX = 32 << 20
_MIB = 1 << 20

_MUST_BE_ON = {
    "fsync": "a crash of the machine can lose or damage the whole database",
    "full_page_writes": "a crash of the machine can damage pages beyond repair",
    "synchronous_commit": "a crash of the server loses events that were acknowledged",
    "autovacuum": "dead rows are never removed, and every claim gets slower",
    "track_counts": "autovacuum does not know where there is work",
}

_hidden = sa.text("""
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND state IS NULL AND backend_type IS NULL
""")
_slots = sa.text("SELECT slot_name, age(xmin) AS age FROM pg_replication_slots WHERE xmin IS NOT NULL")
_dead = sa.text("""
    SELECT relname, n_live_tup AS live, n_dead_tup AS dead,
           greatest(last_autovacuum, last_vacuum) AS cleaned,
           coalesce(greatest(last_autovacuum, last_vacuum) > now() - interval '10 minutes', false) AS kept_up
    FROM pg_stat_user_tables WHERE relid = ANY (SELECT to_regclass(name) FROM unnest(:names) AS name)
    ORDER BY n_dead_tup DESC
""").bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text)))
_indexes = sa.text("""
    SELECT index.relname AS name, pg_relation_size(index.oid) AS size, index.reltuples AS entries,
           (SELECT coalesce(sum(stats.avg_width), 8) FROM pg_attribute AS part JOIN pg_stats AS stats
             ON stats.schemaname = space.nspname AND stats.tablename = tab.relname
            AND stats.attname = part.attname WHERE part.attrelid = index.oid) AS width
    FROM pg_index JOIN pg_class AS index ON index.oid = indexrelid JOIN pg_class AS tab ON tab.oid = indrelid
    JOIN pg_namespace AS space ON space.oid = tab.relnamespace
    WHERE indrelid = ANY (SELECT to_regclass(name) FROM unnest(:names) AS name)
    ORDER BY size DESC
""").bindparams(sa.bindparam("names", type_=sa.ARRAY(sa.Text)))


def examine_database(url: str) -> list[Finding]:
    """Look it over; JournalRefused where there is none, or it must not be used."""
    view = view_database(url)
    try:
        return [
            *probed(view, "version", findings.version),
            *_settings(Address(url)),
            *probed(view, "ledger", findings.ledger),
            *probed(view, "losses", findings.losses),
            *probed(view, "size", _size),
            *probed(view, "clock", _clock),
            *probed(view, "node", lambda connection: findings.nodes(connection, living(connection))),
            *probed(view, "transactions", _oldest),
            *probed(view, "dead rows", _dead_rows),
            *probed(view, "indexes", _grown),
        ]
    finally:
        view.close()


def _settings(address: Address) -> Iterator[Finding]:
    """As a service's own connection has them: it asks for some of them itself."""
    engine = PostgresEngine(address)
    try:
        found = engine.write(_settings_of)
    except (sa.exc.SQLAlchemyError, psycopg.Error, OSError) as error:
        yield Finding(about="settings", ok=False, says=f"cannot be asked for: {error_text(error)}")
        return
    finally:
        engine.abandon()
    off = [name for name in _MUST_BE_ON if found[name] == "off"]
    for name in off:
        yield Finding(
            about="settings",
            ok=False,
            says=f"{name} is off: {_MUST_BE_ON[name]}",
            do=f"ALTER SYSTEM SET {name} = on, then SELECT pg_reload_conf()",
        )
    if not off:
        names = ", ".join(_MUST_BE_ON)
        yield Finding(about="settings", ok=True, says=f"PostgreSQL {found['server_version']}; {names} are on")


def _settings_of(connection: sa.Connection) -> dict[str, str]:
    names = (*_MUST_BE_ON, "server_version")
    return {name: str(connection.exec_driver_sql(f"SHOW {name}").scalar_one()) for name in names}


def _size(connection: sa.Connection) -> Iterator[Finding]:
    whole = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    ours = bytes_on_disk(connection)
    yield Finding(
        about="size",
        ok=True,
        says=f"{ours / _MIB:.1f} MiB of tables and indexes, {whole / _MIB:.1f} MiB the whole database; how"
        " much room there is, the server's own watch must tell",
    )


def _clock(connection: sa.Connection) -> Iterator[Finding]:
    began = time.monotonic()
    server = float(connection.execute(sa.select(SERVER_TIME)).scalar_one())
    return findings.clock(connection, server + (time.monotonic() - began) / 2)


def _oldest(connection: sa.Connection) -> Iterator[Finding]:
    transactions = oldest_transactions(connection)
    for one in transactions:
        if one.seconds >= _OLD:
            yield Finding(
                about="transactions",
                ok=False,
                says=f"{one.who} is in a transaction for {one.seconds:.0f} s, {one.state}: no row that died"
                " since then can be removed",
                do=one.remedy,
            )
    for row in connection.execute(_slots):
        yield Finding(
            about="transactions",
            ok=True,
            says=f"the replication slot {row.slot_name} keeps dead rows back, {row.age:,} transactions old",
        )
    oldest = max((one.seconds for one in transactions), default=0.0)
    if oldest < _OLD:
        hidden = connection.execute(_hidden).scalar_one()
        unseen = f"; {hidden} sessions of others cannot be seen without GRANT pg_monitor" if hidden else ""
        yield Finding(about="transactions", ok=True, says=f"the oldest is {oldest:.1f} s old{unseen}")


def _dead_rows(connection: sa.Connection) -> Iterator[Finding]:
    rows = connection.execute(_dead, {"names": list(metadata.tables)}).all()
    # Between two rounds of autovacuum, a minute apart, a purge alone leaves more than that.
    many = [row for row in rows if row.dead > _MANY_DEAD and row.dead > row.live / 2 and not row.kept_up]
    for row in many:
        cleaned = "never" if row.cleaned is None else f"last at {row.cleaned:%Y-%m-%d %H:%M:%SZ}"
        yield Finding(
            about="dead rows",
            ok=False,
            says=f"{row.relname} has {row.dead:,} dead rows beside {row.live:,}; vacuumed {cleaned}",
            do=f"end old transactions, then VACUUM (ANALYZE) {row.relname}; more autovacuum workers, or a"
            " higher autovacuum_vacuum_cost_limit, if it comes again",
        )
    if not many:
        worst = ", ".join(f"{row.relname} {row.dead:,} beside {row.live:,}" for row in rows[:3])
        yield Finding(about="dead rows", ok=True, says=worst or "none")


def _grown(connection: sa.Connection) -> Iterator[Finding]:
    rows = connection.execute(_indexes, {"names": list(metadata.tables)}).all()
    grown = []
    for row in rows:
        needed = max(row.entries, 0) * (row.width + 20) / 0.7
        if row.entries >= 0 and row.size > _SMALL_INDEX and row.size > _BLOATED * needed:
            grown.append(row)
            yield Finding(
                about="indexes",
                ok=False,
                says=f"{row.name} takes {row.size / _MIB:.0f} MiB, where {needed / _MIB:.0f} would do",
                do=f"REINDEX INDEX CONCURRENTLY {row.name}",
            )
    if not grown:
        total = sum(row.size for row in rows)
        largest = ", ".join(f"{row.name} {row.size / _MIB:.1f} MiB" for row in rows[:3])
        yield Finding(about="indexes", ok=True, says=f"{total / _MIB:.1f} MiB; the largest: {largest}")
