"""The facts of a journal, which are the rows of `meta`: one text under each key."""

from __future__ import annotations

import sqlalchemy as sa

from relay.journal.tables.schema import meta
from relay.journal.tables.sql_functions import upsert


def read_fact(connection: sa.Connection, key: str) -> str | None:
    """One fact; None where the journal does not have it."""
    value: str | None = connection.execute(sa.select(meta.c.value).where(meta.c.key == key)).scalar()
    return value


def put_fact(connection: sa.Connection, key: str, value: str) -> None:
    """Set a fact, whether the journal has it or not."""
    row = upsert(meta, connection.dialect).values(key=key, value=value)
    connection.execute(
        row.on_conflict_do_update(index_elements=["key"], set_={"value": row.excluded["value"]})
    )


def increase_fact(connection: sa.Connection, key: str) -> int:
    """Add 1 to a fact that is a number; the sum. Its row is locked until the transaction ends."""
    number = sa.cast(sa.cast(meta.c.value, sa.BigInteger) + 1, sa.Text)
    raised = sa.update(meta).where(meta.c.key == key).values(value=number).returning(meta.c.value)
    return int(connection.execute(raised).scalar_one())


def remove_fact(connection: sa.Connection, key: str) -> None:
    """Forget a fact."""
    connection.execute(sa.delete(meta).where(meta.c.key == key))
