"""The tables as a whole: whether they are there and up to date, and bringing them there."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from relay.errors import JournalRefused
from relay.journal.tables import schema
from relay.journal.tables.facts import put_fact

MOVED = "moved"
"""The fact of a journal that was given up for a copy: where that is, and by which of the copies."""

COPYING = "copying"
"""The fact of a copy that is not finished: by which of the copies, and how far it has come."""


class NoJournal(Exception):
    """What is there is no journal, or not all of one."""


def read_facts(connection: sa.Connection) -> dict[str, str]:
    """The journal's id and versions, once all its tables are seen to be there; else `NoJournal`."""
    rows = connection.execute(sa.select(schema.meta.c.key, schema.meta.c.value))
    facts = {row.key: row.value for row in rows}
    if not {"id", "version", "oldest"} <= facts.keys():
        raise NoJournal("its id or version is missing")
    version = int(facts["version"])
    seen = ", ".join(
        f"EXISTS (SELECT 1 FROM {table.name})"  # noqa: S608 - our own tables
        for table in schema.metadata.tables.values()
        if version >= table.info.get("since", 1)
    )
    connection.exec_driver_sql(f"SELECT {seen}").all()
    return facts


def refuse_newer(name: object, facts: Mapping[str, str]) -> None:
    """Refuse a journal that only a newer program may use."""
    if int(facts["oldest"]) > schema.VERSION:
        raise JournalRefused(
            f"{name} was written by a newer Relay and needs at least its version {facts['oldest']} of the"
            f" tables; this program knows version {schema.VERSION}: install the newer Relay"
        )


def too_old(name: object) -> JournalRefused:
    """What to say to who only reads, or may not upgrade, a journal whose tables are older."""
    return JournalRefused(
        f"the tables of {name} are of an older Relay: run `relay journal upgrade`, which keeps all that is"
        " in them"
    )


def refuse_moved(name: object, facts: Mapping[str, str]) -> None:
    """Refuse a journal that was, or is being, copied elsewhere, and one that is not all there yet."""
    if MOVED in facts:
        target = json.loads(facts[MOVED])["to"]
        raise JournalRefused(
            f"{name} was moved to {target}: set RELAY_JOURNAL to that. If the copy was not finished, run"
            " the same `relay journal copy` again; `relay journal copy FROM --undo` gives this one back"
        )
    if COPYING in facts:
        raise JournalRefused(
            f"{name} is the unfinished copy of another journal: run the same `relay journal copy` again to"
            " finish it"
        )


def are_current(connection: sa.Connection) -> bool:
    """Whether the tables are there and as new as this program means them."""
    revision = _revision(connection)
    return revision is not None and revision >= schema.REVISION


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return None if found is None else str(found)


def refuse_beside_older(connection: sa.Connection, alive: Collection[str]) -> None:
    """Refuse to take from a program that lives what it needs: those who are too old must end first."""
    columns = {column["name"] for column in sa.inspect(connection).get_columns("node")}
    knows = schema.node.c.tables if schema.node.c.tables.name in columns else sa.literal(1)
    rows = connection.execute(
        sa.select(schema.node.c.id, schema.node.c.host, schema.node.c.pid, schema.node.c.version).where(
            knows < schema.OLDEST_USABLE
        )
    )
    older = [f"{row.host} (process {row.pid}, relay {row.version})" for row in rows if row.id in alive]
    if older:
        raise JournalRefused(
            "the upgrade makes tables that an older Relay cannot use, and one still serves on"
            f" {', '.join(older)}: stop it first, then upgrade. Nothing was changed"
        )


def upgrade(connection: sa.Connection) -> None:
    """Make the tables, or bring them up to date."""
    # Imported when needed: alembic costs every start a tenth of a second.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "relay:journal/migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    wanted = {
        "version": str(schema.VERSION),
        "oldest": str(schema.OLDEST_USABLE),
    }
    there = {row.key for row in connection.execute(sa.select(schema.meta.c.key))}
    first = {"id": uuid.uuid4().hex, "probed_at": "0", "reload": "0", "change": "0"}
    for key, value in (first | wanted).items():
        if key in wanted or key not in there:
            put_fact(connection, key, value)
