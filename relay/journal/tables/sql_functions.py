"""What the engines write differently, under one name each."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement


class Place(FunctionElement[int]):
    """Where bytes stand in bytes, counted from 1; 0 where they do not."""

    inherit_cache = True
    name = "place"
    type = sa.Integer()


@compiles(Place, "sqlite")
def _place_sqlite(element: Place, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)})"


@compiles(Place, "postgresql")
def _place_postgresql(element: Place, compiler: Any, **options: Any) -> str:
    whole, part = (compiler.process(clause, **options) for clause in element.clauses)
    return f"position({part} in {whole})"


class Each(FunctionElement[str]):
    """The texts in a JSON array, a row each."""

    inherit_cache = True
    name = "each"
    type = sa.Text()


@compiles(Each, "sqlite")
def _each_sqlite(element: Each, compiler: Any, **options: Any) -> str:
    return f"json_each({compiler.process(element.clauses, **options)})"


@compiles(Each, "postgresql")
def _each_postgresql(element: Each, compiler: Any, **options: Any) -> str:
    return f"json_array_elements_text(CAST({compiler.process(element.clauses, **options)} AS json))"


class Among(FunctionElement[bool]):
    """Whether a column's value is one of those that a limited query gives, which is asked once.

    Of `IN (SELECT … LIMIT … FOR UPDATE SKIP LOCKED)` PostgreSQL's planner may ask once a row, and then
    more rows are taken than the limit says.
    """

    inherit_cache = True
    name = "among"
    type = sa.Boolean()

    def self_group(self, against: Any = None) -> Any:  # noqa: ARG002 - SQLAlchemy's signature
        """As it is: it is a condition, not a value that would be compared with 1."""
        return self


@compiles(Among, "sqlite")
def _among_sqlite(element: Among, compiler: Any, **options: Any) -> str:
    column, query = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN {query}"


@compiles(Among, "postgresql")
def _among_postgresql(element: Among, compiler: Any, **options: Any) -> str:
    column, query = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY(ARRAY{query})"


def among(column: sa.ColumnElement[Any], query: sa.Select[Any]) -> Among:
    """`Among` for a column and a query of one column."""
    return Among(column, query.scalar_subquery())


def upsert(table: sa.Table, dialect: sa.Dialect) -> Any:
    """An insert that may have a conflict; each dialect has its own, loaded only where it is used."""
    if dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite  # noqa: PLC0415

    return sqlite.insert(table)
