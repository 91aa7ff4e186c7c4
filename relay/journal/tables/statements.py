"""The hot statements: Core constructs compiled once, then handed to the driver as they are.

Executing the constructs themselves costs about 48 microseconds more an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache  # noqa: TID251 - its keys are the two engines
from typing import Any, TypeVar

import sqlalchemy as sa

from relay.journal.tables import schema
from relay.journal.tables.rows import ATTEMPT_COLUMNS, DELIVERY_COLUMNS, EVENT_COLUMNS
from relay.journal.tables.sql_functions import upsert

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Hot:
    """One compiled statement; its rows are tuples in the order it was compiled for."""

    sql: str

    @classmethod
    def compile(
        cls, construct: sa.UpdateBase | sa.Select[*tuple[Any, ...]], order: Sequence[str], dialect: sa.Dialect
    ) -> Hot:
        """Compile for a driver with positional parameters, checking the order of the rows."""
        compiled = construct.compile(dialect=dialect)
        positions = list(getattr(compiled, "positiontup", None) or ())
        if positions != list(order):
            raise AssertionError(f"the statement takes {positions}, its rows give {list(order)}")
        return cls(str(compiled))

    def run(self, connection: sa.Connection, rows: list[Row]) -> int:
        """Execute for all rows in one go; the number of rows that it changed."""
        return connection.exec_driver_sql(self.sql, rows).rowcount

    def one(self, connection: sa.Connection, row: Row) -> sa.Row[*tuple[Any, ...]] | None:
        """Execute once; the first row that it gives, if it gives any."""
        result = connection.exec_driver_sql(self.sql, row)
        return result.first() if result.returns_rows else None


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows for one table by PostgreSQL's COPY: half the CPU of an INSERT, here and in the server.

    It parses, plans and answers once for all rows, and writes them to the log page by page.
    """

    sql: str
    types: tuple[str, ...]

    @classmethod
    def compile(cls, table: sa.Table, columns: Sequence[str], dialect: sa.Dialect) -> Stream:
        """Rows are tuples in the order of the columns; their types are sent in binary."""
        types = (str(table.c[name].type.compile(dialect=dialect)).lower() for name in columns)
        return cls(
            f"COPY {table.name} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)",
            tuple("float8" if name == "double precision" else name for name in types),
        )

    def run(self, connection: sa.Connection, rows: Sequence[Row]) -> int:
        """Store all rows in one go; how many they were."""
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            with cursor.copy(self.sql) as stream:
                stream.set_types(self.types)
                for row in rows:
                    stream.write_row(row)
            return int(cursor.rowcount)


@dataclass(frozen=True, slots=True)
class Statements:
    """The hot statements of one engine."""

    insert_event: Hot | Stream
    insert_delivery: Hot | Stream
    insert_attempt: Hot | Stream
    settle: Hot
    take_key: Hot
    count: Hot
    last_error: Hot
    enter_lane: Hot
    lock_lane: Hot
    promote: Hot
    head_lane: Hot
    hold_lane: Hot
    drop_lane: Hot
    know: Hot
    reserve_lane: Hot | None

    @classmethod
    def of(cls, dialect: sa.Dialect) -> Statements:
        """Those of an engine, compiled when the first of its journals is opened."""
        kind: Any = type(dialect)
        return _compile(kind, dialect.paramstyle)

    @classmethod
    def compile(cls, dialect: sa.Dialect) -> Statements:
        """Compile them."""
        return cls(
            insert_event=_insert(schema.event, EVENT_COLUMNS, dialect),
            insert_delivery=_insert(schema.delivery, DELIVERY_COLUMNS, dialect),
            insert_attempt=_insert(schema.attempt, ATTEMPT_COLUMNS, dialect),
            settle=_settle(dialect),
            take_key=_take_key(dialect),
            count=_count(dialect),
            last_error=_last_error(dialect),
            enter_lane=_enter_lane(dialect),
            lock_lane=_of_lane(
                sa.select(schema.lane.c.head, schema.lane.c.held_by).with_for_update(), (), dialect
            ),
            promote=_promote(dialect),
            head_lane=_of_lane(_set_lane(head=sa.bindparam("head"), held_by=sa.null()), ("head",), dialect),
            hold_lane=_of_lane(_set_lane(held_by=sa.bindparam("held_by")), ("held_by",), dialect),
            drop_lane=_of_lane(sa.delete(schema.lane), (), dialect),
            know=_know(dialect),
            # Where several write at once; an SQLite journal has one lock for all.
            reserve_lane=Hot("SELECT pg_advisory_xact_lock(%s)") if dialect.name == "postgresql" else None,
        )


@lru_cache(maxsize=2)
def _compile(dialect: type[Any], paramstyle: str) -> Statements:
    return Statements.compile(dialect(paramstyle=paramstyle))


def _binds(names: Iterable[str]) -> dict[str, sa.BindParameter[object]]:
    return {name: sa.bindparam(name) for name in names}


def _insert(table: sa.Table, columns: Sequence[str], dialect: sa.Dialect) -> Hot | Stream:
    if dialect.name == "postgresql":
        return Stream.compile(table, columns, dialect)
    # inline: no RETURNING, nobody asks for the number that the row got.
    return Hot.compile(sa.insert(table).values(_binds(columns)).inline(), columns, dialect)


def _settle(dialect: sa.Dialect) -> Hot:
    table = schema.delivery
    values = ("state", "finished", "due_at", "outcome", "status", "error", "reason", "finished_at")
    rendered = sa.bindparam("b_rendered", type_=table.c.rendered.type)
    statement = (
        sa.update(table)
        .where(
            table.c.id == sa.bindparam("b_id"),
            table.c.owner == sa.bindparam("b_owner"),
            table.c.fence == sa.bindparam("b_fence"),
            table.c.state == schema.PENDING,
        )
        .ordered_values(
            *((table.c[name], sa.bindparam(name)) for name in values),
            (table.c.rendered, sa.func.coalesce(table.c.rendered, rendered)),
            (table.c.owner, sa.null()),
            (table.c.owned_at, sa.null()),
        )
    )
    return Hot.compile(statement, (*values, "b_rendered", "b_id", "b_owner", "b_fence"), dialect)


def _take_key(dialect: sa.Dialect) -> Hot:
    columns = [column.name for column in schema.dedup.columns]
    statement = upsert(schema.dedup, dialect).values(_binds(columns))
    statement = statement.on_conflict_do_update(
        index_elements=["source", "key"],
        set_={name: statement.excluded[name] for name in columns[2:]},
        where=schema.dedup.c.expires_at <= sa.bindparam("now"),
    )
    return Hot.compile(statement, (*columns, "now"), dialect)


def _count(dialect: sa.Dialect) -> Hot:
    columns = [column.name for column in schema.ledger.columns]
    statement = upsert(schema.ledger, dialect).values(_binds(columns))
    statement = statement.on_conflict_do_update(
        index_elements=["source", "destination", "counter", "slot"],
        set_={
            "value": schema.ledger.c.value + statement.excluded.value,
            "at": statement.excluded["at"],
        },
    )
    return Hot.compile(statement, columns, dialect)


def _last_error(dialect: sa.Dialect) -> Hot:
    columns = ["name", "last_error", "last_error_at"]
    statement = upsert(schema.destination, dialect).values(_binds(columns))
    statement = statement.on_conflict_do_update(
        index_elements=["name"],
        set_={name: statement.excluded[name] for name in columns[1:]},
    )
    return Hot.compile(statement, columns, dialect)


def _know(dialect: sa.Dialect) -> Hot:
    """Make a destination's row where there is none yet."""
    statement = upsert(schema.destination, dialect).values(_binds(["name"]))
    return Hot.compile(statement.on_conflict_do_nothing(index_elements=["name"]), ["name"], dialect)


_LANE = ("b_destination", "b_key")

_Of = TypeVar("_Of", sa.Select[Any], sa.Update, sa.Delete)


def _of_lane(statement: _Of, values: Sequence[str], dialect: sa.Dialect) -> Hot:
    table = schema.lane
    statement = statement.where(
        table.c.destination == sa.bindparam(_LANE[0]), table.c.key == sa.bindparam(_LANE[1])
    )
    return Hot.compile(statement, (*values, *_LANE), dialect)


def _set_lane(**values: sa.ColumnElement[Any]) -> sa.Update:
    return sa.update(schema.lane).values(**values)


def _enter_lane(dialect: sa.Dialect) -> Hot:
    """Give so many places at the end; the last of them. A lane without a row begins at 1."""
    columns = ["destination", "key", "tail", "head"]
    statement = upsert(schema.lane, dialect).values(_binds(columns))
    statement = statement.on_conflict_do_update(
        index_elements=columns[:2], set_={"tail": schema.lane.c.tail + statement.excluded.tail}
    )
    return Hot.compile(statement.returning(schema.lane.c.tail), columns, dialect)


def _promote(dialect: sa.Dialect) -> Hot:
    """Make the lowest pending place of a lane due, or park it where it is behind older ones; the place."""
    table = schema.delivery
    ours = sa.and_(
        schema.in_lane,
        table.c.destination == sa.bindparam(_LANE[0]),
        table.c.lane == sa.bindparam(_LANE[1]),
    )
    lowest = sa.select(sa.func.min(table.c.place)).where(ours).scalar_subquery()
    due_at = sa.bindparam("due_at", type_=sa.Double)
    statement = (
        sa.update(table)
        .where(ours, table.c.place == lowest)
        .ordered_values(
            (table.c.due_at, sa.case((schema.is_behind, sa.null()), else_=due_at)),
            (table.c.parked_at, sa.case((schema.is_behind, due_at))),
        )
        .returning(table.c.place)
    )
    return Hot.compile(statement, ("due_at", "due_at", *_LANE, *_LANE), dialect)
