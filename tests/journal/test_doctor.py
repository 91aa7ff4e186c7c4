"""What the doctor finds in a journal, and that it changes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import re
import socket
import sqlite3
import time
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from typer.testing import CliRunner, Result

from relay.cli.app import app
from relay.journal import Finding, Journal, Reader, examine
from relay.journal.sqlite import health as sqlite_health
from relay.journal.tables import schema
from relay.model import DeliveryState
from relay.problems import CLOCKS_APART, Seen, problems
from tests.journal.making import (
    NOW,
    StillClock,
    by_hand,
    locked,
    make_entry,
    make_laned,
    make_settlement,
    only,
    opened,
    path_of,
)
from tests.support.databases import Databases
from tests.support.http import free_port
from tests.support.readers import reading
from tests.support.wait import eventually


def about(findings: list[Finding], what: str) -> list[Finding]:
    """The findings about one thing."""
    return [one for one in findings if one.about == what]


def wrong(findings: list[Finding]) -> dict[str, str]:
    """What is not well, and what was said of it."""
    return {one.about: one.says for one in findings if not one.ok}


async def test_a_journal_that_is_well_says_so(engine: str) -> None:
    """While it is served, and while it is not; who serves is told."""
    clock = StillClock()
    clock.at = time.time()
    with opened(engine, clock=clock) as journal:
        await journal.append(make_entry("billing"))
        findings = examine(engine)
        assert set(wrong(findings)) <= {"settings"}  # the tests' own server runs without fsync
        assert "serves" in about(findings, "node")[0].says
        assert "deliveries pending: 1" in about(findings, "ledger")[0].says
    findings = examine(engine)
    assert set(wrong(findings)) <= {"settings"}
    assert "nobody serves" in about(findings, "node")[-1].says
    assert f"tables of version {schema.VERSION}" in about(findings, "version")[0].says


async def test_books_that_do_not_balance_are_told(engine: str) -> None:
    """With what is to be done, as for everything that is wrong."""
    clock = StillClock()
    clock.at = time.time()
    with opened(engine, clock=clock) as journal:
        await journal.append(make_entry("billing"))
    with by_hand(engine) as other:
        other.execute("DELETE FROM delivery")
    (found,) = about(examine(engine), "ledger")
    assert (found.ok, found.says) == (False, "is out by 1")
    assert "relay ledger" in found.do


async def test_a_clock_that_was_set_back_is_told(engine: str) -> None:
    """What is written in the future is seen as such."""
    clock = StillClock()
    clock.at = time.time() + 500
    with opened(engine, clock=clock) as journal:
        clock.at = time.time() + 500
        await journal.append(make_entry("billing"))
    assert "in the future" in wrong(examine(engine))["clock"]


async def test_a_node_whose_file_has_mistakes_is_told(journal: Journal, engine: str) -> None:
    """It goes on by the old one, and somebody thinks it took the new one."""
    await journal.note_config(digest="d", reload=1, error="no such key")
    assert "its file has mistakes" in wrong(examine(engine))["node"]


def test_what_cannot_be_used_is_a_finding_with_what_to_do(tmp_path: Path) -> None:
    """No journal, none that is one, no server: the doctor ends with an answer."""
    nothing = f"sqlite:///{tmp_path / 'none.db'}"
    assert "no journal at" in wrong(examine(nothing))["journal"]
    other = tmp_path / "other.db"
    other.write_bytes(b"x" * 5000)
    assert "cannot be read as a journal" in wrong(examine(f"sqlite:///{other}"))["journal"]
    assert "cannot be read" in wrong(examine(f"postgresql://me@/relay?host={tmp_path}"))["journal"]
    assert "is no journal" in wrong(examine("mysql://h/relay"))["journal"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["other.db"]


async def test_what_waits_for_somebody_is_found_in_the_journal(engine: str) -> None:
    """Dead deliveries and held lanes with since when, pauses, breakers, and the last refused request."""
    clock = StillClock()
    with opened(engine, clock=clock) as journal, Reader.open(engine) as reader:
        entry = make_laned("k", "billing", hold=True)
        await journal.append(entry)
        await journal.append(make_laned("k", "billing", hold=True))
        (claim,) = await journal.claim("billing", 1)
        clock.at += 5
        await journal.settle(make_settlement(claim.delivery, DeliveryState.DEAD))
        await journal.pause("chat", reason="operator")
        await journal.open_breaker("archive", probe_at=clock.at + 60)
        for _ in range(20):
            journal.count_rejected("github")
        await asyncio.to_thread(eventually, lambda: reader.status().sources[0].rejected == 20)
        status = reader.status()
        found = {one.kind: (one.about, one.since) for one in problems(Seen(status=status), now=clock.at)}
        assert found == {
            "breaker_open": ("archive", NOW + 5),
            "paused": ("chat", NOW + 5),
            "held_lane": ("billing", NOW + 5),
            "dead": ("billing", NOW + 5),
        }
        assert status.sources[0].rejected_at == NOW + 5


async def test_a_lock_that_keeps_events_out_is_told_with_its_holder(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is held, and no more; the journal itself is not kept from anything by the question."""
    from relay.journal.postgres import refusal as postgres_refusal  # noqa: PLC0415 - see their front door
    from relay.journal.sqlite import refusal as sqlite_refusal  # noqa: PLC0415 - see their front door

    monkeypatch.setattr(sqlite_refusal, "PATIENCE", 0.05)
    monkeypatch.setattr(postgres_refusal, "_LOCK_TIMEOUT", "50ms")
    with opened(engine) as journal, Reader.open(engine) as reader:
        assert reader.refusal() is None
        with locked(engine):
            refusal = reader.refusal()
        assert refusal is not None
        assert re.match(r"process \d+ \(", refusal)
        assert "end " in refusal
        assert reader.refusal() is None
        await journal.append(make_entry("billing"))


@only("sqlite", "a server has no lock file")
async def test_whoever_holds_the_lock_is_named_by_one_who_leaves_no_name(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file remembers few that write; those who only look must not push them out."""
    from relay.journal.sqlite import refusal as sqlite_refusal  # noqa: PLC0415 - see its front door

    monkeypatch.setattr(sqlite_refusal, "PATIENCE", 0.05)
    lock = path_of(engine).with_name("relay.db.lock")
    with opened(engine), Reader.open(engine) as reader:
        lock.write_text(f"{os.getpid()} {socket.gethostname()} the holder\n")
        before = lock.read_bytes()
        with lock.open("rb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert "is held for over 0.05 s by process" in str(reader.refusal())
        assert reader.refusal() is None
        assert lock.read_bytes() == before


async def test_a_journal_that_was_moved_says_where_to(engine: str) -> None:
    """Whoever still looks at the old one hears so first."""
    with opened(engine, serving=False):
        pass
    with by_hand(engine) as other:
        other.execute("""INSERT INTO meta (key, value) VALUES ('moved', '{"to": "elsewhere", "by": "x"}')""")
    with Reader.open(engine) as reader:
        assert "was moved to elsewhere" in str(reader.refusal())


@only("sqlite", "a server watches its own disk")
def test_a_disk_without_room_is_told(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is kept for outcomes."""
    from relay.journal.sqlite import view as sqlite_view  # noqa: PLC0415 - see its front door

    monkeypatch.setattr(sqlite_view, "RESERVE", 1 << 60)
    with opened(engine, serving=False), Reader.open(engine) as reader:
        assert "make room" in str(reader.refusal())


@only("postgresql", "a file has neither roles nor settings")
def test_a_database_that_may_not_be_written_to_is_told(engine: str) -> None:
    """By its own setting, and by a privilege that the role has lost."""
    with opened(engine, serving=False), by_hand(engine) as other, Reader.open(engine) as reader:
        (name,) = other.execute("SELECT current_database()").fetchone()
        other.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(name))
        )
        assert "default_transaction_read_only" in str(reader.refusal())
        other.execute(
            sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(sql.Identifier(name))
        )
        assert reader.refusal() is None


@only("postgresql", "who share a file share a machine")
def test_each_node_writes_how_far_its_clock_is_from_the_databases(engine: str) -> None:
    """With its life, so that clocks that differ are found whatever machine asks."""
    with opened(engine), Reader.open(engine) as reader:
        (node,) = reader.status().nodes
        assert node.wall_ahead is not None
        assert abs(node.wall_ahead) < CLOCKS_APART
        with by_hand(engine) as other:
            other.execute(
                "INSERT INTO node (id, started_at, version, host, pid, beat_at, wall_ahead)"
                " VALUES ('x', 1, '1', 'far', 7, extract(epoch FROM clock_timestamp())::float8, 60)"
            )
        (found,) = problems(Seen(status=reader.status()), now=NOW)
        assert (found.kind, "far (process 7) +60.0 s" in found.text) == ("clocks_differ", True)


@only("sqlite", "a file has pages")
async def test_a_flipped_page_inside_is_found(engine: str) -> None:
    """`quick_check` reads every page, though nothing else has noticed."""
    clock = StillClock()
    clock.at = time.time()
    with opened(engine, clock=clock) as journal:
        for _ in range(200):
            await journal.append(make_entry("billing"))
    path = path_of(engine)
    content = bytearray(path.read_bytes())
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ix_delivery_age'")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    begin = (page[0] - 1) * size
    content[begin : begin + size] = bytes(255 - one for one in content[begin : begin + size])
    path.write_bytes(content)
    (found,) = about(examine(engine), "integrity")
    assert not found.ok
    assert "restore a backup" in found.do


@only("sqlite", "a file is in a folder")
async def test_the_doctor_leaves_no_trace(engine: str) -> None:
    """No file is made, none is changed, whether anybody serves or not."""
    with opened(engine, serving=False):
        pass
    path = path_of(engine)
    before = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    examine(engine)
    after = {one.name: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"relay.db-wal", "relay.db-shm"}
    assert not after.get("relay.db-wal")


@only("sqlite", "PostgreSQL has no log that readers hold")
@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the kernel does not tell who holds a lock")
@pytest.mark.parametrize(("limit", "large"), [(64 << 20, False), (4096, True)])
def test_a_reader_that_holds_the_log_is_named(
    engine: str, *, limit: int, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its process; it is wrong once the log is large."""
    monkeypatch.setattr(sqlite_health, "LOG_IS_LARGE", limit)
    clock = StillClock()
    clock.at = time.time()
    with opened(engine, clock=clock) as journal:
        asyncio.run(journal.append(make_entry("billing")))
        with reading(path_of(engine)) as pid:
            (found,) = about(examine(engine), "readers")
        assert f"process {pid} (python" in found.says
        assert found.ok is not large
        assert bool(found.do) is large
        (found,) = about(examine(engine), "readers")
        assert found.ok
        assert "nobody holds the log" in found.says


@only("postgresql", "a file has no settings")
def test_settings_that_lose_events_are_told(engine: str, databases: Databases) -> None:
    """Each with the harm that it does, and how to set it."""
    with opened(engine):
        pass
    found = [one for one in about(examine(engine), "settings") if not one.ok]
    named = " ".join(one.says for one in found)
    assert "fsync is off: a crash of the machine can lose" in named
    assert "autovacuum is off" in named
    assert "synchronous_commit" not in named  # Relay asks for it itself
    assert all("ALTER SYSTEM SET" in one.do for one in found)


@only("postgresql", "SQLite's readers are another matter")
def test_an_old_transaction_is_named(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its process, with its age, and how to end it."""
    from relay.journal.postgres import health as postgres_health  # noqa: PLC0415 - see its front door

    monkeypatch.setattr(postgres_health, "_OLD", 0.2)
    with opened(engine), psycopg.connect(engine, application_name="analyst") as other:
        other.execute("SELECT 1")
        time.sleep(0.3)
        (found,) = about(examine(engine), "transactions")
        assert not found.ok
        assert f"process {other.info.backend_pid} (" in found.says
        assert "analyst" in found.says
        assert f"pg_terminate_backend({other.info.backend_pid})" in found.do


@only("postgresql", "SQLite has no dead rows")
async def test_dead_rows_and_grown_indexes_are_told(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that mends each; autovacuum is off on this server."""
    from relay.journal.postgres import health as postgres_health  # noqa: PLC0415 - see its front door

    monkeypatch.setattr(postgres_health, "_MANY_DEAD", 500)
    monkeypatch.setattr(postgres_health, "_SMALL_INDEX", 50_000)
    with opened(engine):
        pass
    with by_hand(engine) as other:
        other.execute(
            "INSERT INTO dedup"
            " SELECT 's', md5(n::text)::bytea, 'evt', '', n FROM generate_series(1, 4000) AS n"
        )
        other.execute("DELETE FROM dedup WHERE expires_at > 100")
        other.execute("SELECT pg_stat_force_next_flush()")
        other.execute("SELECT 1")
        (found,) = about(examine(engine), "dead rows")
        assert not found.ok
        assert found.says.startswith("dedup has 3,900 dead rows beside 100; vacuumed never")
        assert "VACUUM (ANALYZE) dedup" in found.do
        other.execute("VACUUM (ANALYZE) dedup")
        grown = about(examine(engine), "indexes")
        assert "REINDEX INDEX CONCURRENTLY dedup_pkey" in {one.do for one in grown}


CONFIG = """\
sources: {{github: {{verify: {{scheme: none}}}}}}
egress: {{deny: [127.0.0.2/32]}}
destinations:
  up: {{url: "{up}/x/{{{{ event.id }}}}"}}
  down: {{url: "http://127.0.0.1:{down}/"}}
  denied: {{url: "http://127.0.0.2:80/"}}
  unknown: {{url: "http://nowhere.invalid/"}}
routes: [{{source: github, to: [up, down, denied, unknown]}}]
"""


WELL = """\
sources: {{github: {{verify: {{scheme: none}}}}}}
destinations: {{up: {{url: "{up}"}}}}
routes: [{{source: github, to: up}}]
"""


def address(server: socket.socket) -> str:
    """The URL of a server that takes connections."""
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def run(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["doctor", *arguments])


@only("sqlite", "the command is the same")
def test_the_command_dials_each_destination_and_sends_nothing(engine: str, tmp_path: Path) -> None:
    """Through the guard, with the reason where it fails; exit code 1, and `--json`."""
    clock = StillClock()
    clock.at = time.time()
    with opened(engine, clock=clock, serving=False):
        pass
    with socket.create_server(("127.0.0.1", 0)) as server:
        config = tmp_path / "relay.yaml"
        config.write_text(CONFIG.format(up=address(server), down=free_port()))
        result = run("--journal", engine, "--config", str(config), "--json")
        connection, _ = server.accept()
        with connection:
            assert connection.recv(1) == b""
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["ok"] is False
    says = {
        one["says"].partition(":")[0]: (one["ok"], one["says"])
        for one in told["findings"]
        if one["about"] == "destination"
    }
    assert says["up"][0]
    assert (says["down"][0], "refused" in says["down"][1]) == (False, True)
    assert (says["denied"][0], "denied by `egress`" in says["denied"][1]) == (False, True)
    assert (says["unknown"][0], "cannot be resolved" in says["unknown"][1]) == (False, True)
    assert all(one["do"] for one in told["findings"] if not one["ok"])


@only("sqlite", "the command is the same")
def test_the_command_lists_what_waits_for_somebody(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line each, with the command below; exit code 1. `status` begins with what keeps events out."""
    monkeypatch.chdir(tmp_path)  # where no file is
    with opened(engine, serving=False) as journal:
        asyncio.run(journal.pause("billing", reason="moving \x1b[31mhouse"))
    result = run("--journal", engine)
    assert result.exit_code == 1
    assert r"paused     billing: it is paused (moving \x1b[31mhouse)" in result.stdout
    assert "\npaused billing: `relay resume billing`\n" in result.stdout
    (found,) = [
        one for one in json.loads(run("--journal", engine, "--json").stdout)["findings"] if not one["ok"]
    ]
    assert (found["about"], found["subject"], found["count"]) == ("paused", "billing", 0)
    status = CliRunner().invoke(app, ["status", "--journal", engine])
    assert status.stdout.startswith("DESTINATION")
    with by_hand(engine) as other:
        other.execute("""INSERT INTO meta (key, value) VALUES ('moved', '{"to": "elsewhere", "by": "x"}')""")
    status = CliRunner().invoke(app, ["status", "--journal", engine])
    assert status.stdout.startswith("THE JOURNAL TAKES NO EVENTS: this journal was moved to elsewhere")
    assert (
        "was moved to elsewhere"
        in json.loads(CliRunner().invoke(app, ["status", "--journal", engine, "--json"]).stdout)["refusal"]
    )


@only("sqlite", "the command is the same")
def test_the_command_ends_with_0_where_all_is_well(engine: str, tmp_path: Path) -> None:
    """A file with mistakes is none; without a file no destination is looked at."""
    with opened(engine, serving=False):
        pass
    config = tmp_path / "relay.yaml"
    with socket.create_server(("127.0.0.1", 0)) as server:
        config.write_text(WELL.format(up=address(server)))
        result = run("--journal", engine, "--config", str(config))
    assert (result.exit_code, "All is well." in result.stdout) == (0, True), result.output
    config.write_text("sauces: {}\n")
    result = run("--journal", engine, "--config", str(config))
    assert (result.exit_code, "file: `relay check`" in result.stdout) == (1, True), result.output
