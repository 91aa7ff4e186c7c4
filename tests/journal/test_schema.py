"""The migrations and the tables that the program means are the same; the hot paths use indexes."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from relay.journal import Journal
from relay.journal.opening import database_path
from relay.journal.reads.filters import delivery_conditions
from relay.journal.tables import schema
from relay.journal.tables.rows import pack_headers, unpack_headers
from relay.journal.values import Filter
from tests.journal.making import by_hand, only, opened


def shape(connection: sa.Connection) -> dict[str, str]:
    """Every table and index as the engine describes it, white space aside."""
    rows = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE sql NOT NULL AND name NOT LIKE 'sqlite_%'"
    )
    return {name: "".join(str(sql).split()).replace('"', "") for name, sql in rows}


@only("sqlite", "test_postgres.py compares the other's")
def test_the_migrations_make_the_tables_that_the_program_means(engine: str) -> None:
    """From nothing to the metadata, to the last partial index."""
    with opened(engine):
        pass
    meant = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    made = sa.create_engine(f"sqlite:///{database_path(engine)}", poolclass=sa.pool.NullPool)
    with made.connect() as connection, meant.connect() as other:
        assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []
        schema.metadata.create_all(other)
        shapes = shape(connection)
        assert shapes.pop("alembic_version")
        assert shapes == shape(other)
    made.dispose()
    meant.dispose()


def test_opening_again_migrates_nothing(engine: str) -> None:
    """The second time finds the journal as it was."""
    for _ in range(2):
        with opened(engine), by_hand(engine) as other:
            ids = other.execute("SELECT value FROM meta WHERE key = 'id'").fetchall()
            assert len(ids) == 1


@only("sqlite", "the plan of a small table tells nothing on PostgreSQL")
@pytest.mark.parametrize(("condition", "index"), [("< 2", "waiting"), (">= 2", "suspect")])
def test_a_claim_walks_its_index(journal: Journal, engine: str, condition: str, index: str) -> None:
    """No sorting, no reading of what is not due, and none of a long backlog to look for a suspect."""
    with by_hand(engine) as other:
        plan = other.execute(
            "EXPLAIN QUERY PLAN SELECT seq FROM delivery WHERE state = 'pending' AND owner IS NULL"
            f" AND destination = ? AND due_at <= ? AND owners_lost {condition} ORDER BY due_at, seq LIMIT 5",
            ("a", 1.0),
        ).fetchall()
    assert len(plan) == 1
    assert f"ix_delivery_{index} (destination=? AND due_at<?)" in plan[0][3]


def test_the_tables_are_meant_for_postgresql_too() -> None:
    """They compile there, byte search included."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    for table in schema.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))
    found = sa.select(schema.delivery.c.id).where(*delivery_conditions(Filter(search="x")))
    assert "position(" in str(found.compile(dialect=dialect))


def test_headers_survive_whatever_is_in_them() -> None:
    """Empty lists, empty names, any byte."""
    for headers in ((), ((b"", b""),), ((b"a", b"\n\x00:"), (b"a", bytes(range(256)) * 300))):
        blob = pack_headers(headers)
        assert unpack_headers(blob + b"body") == (headers, len(blob))
