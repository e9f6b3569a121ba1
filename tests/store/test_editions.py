"""Releases beside each other: who may make a later edition of the book, and who goes on with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import psycopg
import pytest
from sqlalchemy import Connection

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import HostId, new_operation_id
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.store import hosts, operations
from codex_control_plane_mcp.store.book import Book, opened
from codex_control_plane_mcp.store.editions import Edition, Outdated, read, released
from codex_control_plane_mcp.store.engine import connect_postgres
from codex_control_plane_mcp.store.migrate import migrate
from codex_control_plane_mcp.store.presence import Presence, present
from tests.hosts import enrolled, there
from tests.model.lives import LIFE
from tests.store.actors import PATIENCE_SECONDS, Desk
from tests.store.actors import desk as desk_at

NEXT = released()[-1].number + 1
BEFORE = NEXT - 1
ADDS = read(
    NEXT,
    f"""-- Usable from edition {BEFORE}.
    -- Moods of tasks.
    ALTER TABLE operations ADD COLUMN mood TEXT;
    CREATE TABLE moods (name TEXT NOT NULL PRIMARY KEY, weight BIGINT NOT NULL DEFAULT 0);
    CREATE INDEX operations_by_mood ON operations (mood);
    """,
)
BREAKS = read(NEXT, "-- Trees.\nALTER TABLE operations RENAME COLUMN worktree TO tree;\n")
#: The lock that an edition of these tests waits for.
GATE = 77
WAITS = read(NEXT, f"SELECT pg_advisory_xact_lock({GATE});")


def bring(book: Book, to: Edition, *, may_break: bool = False) -> None:
    """As a release does that knows one edition more."""
    known = (*released(), to)
    book.write_now(
        lambda writing: migrate(writing.connection, writing.now, may_break=may_break, known=known)
    )


@pytest.fixture
def nowhere(request: pytest.FixtureRequest, where: Path | str) -> Path | str:
    """Where no later edition outlives the test: the database of `where` is everybody's."""
    if isinstance(where, Path):
        return where
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def fleet(where_postgres_runs: None, postgres_url: str) -> str:
    return postgres_url


def test_an_edition_without_a_word_can_be_used_by_nobody_who_does_not_know_it() -> None:
    assert (ADDS.usable_from, BREAKS.usable_from) == (BEFORE, NEXT)
    assert [one.number for one in released()] == list(range(1, NEXT))
    assert all(one.usable_from <= one.number for one in released())


def test_an_edition_that_only_adds_is_made_by_whoever_comes_and_older_releases_go_on(
    nowhere: Path | str,
) -> None:
    with desk_at(nowhere) as older:
        before = older.submit()
        bring(older.book, ADDS)
        bring(older.book, ADDS)
        assert older.count("edition") == NEXT
        assert older.get(before.id) == before
        older.record(before, *LIFE[Status.COMPLETED])
    with desk_at(nowhere) as older:
        after = older.submit()
        assert older.get(after.id) == after
        older.sql("UPDATE operations SET mood = 'calm'")
        assert older.record(after, *LIFE[Status.RUNNING]).status is Status.RUNNING
        assert older.count("edition") == NEXT


def test_an_edition_that_breaks_is_not_made_by_who_only_looks(nowhere: Path | str) -> None:
    with desk_at(nowhere) as desk:
        operation = desk.submit()
        with pytest.raises(StateBusy, match=r"start the worker, or run .*-admin migrate"):
            bring(desk.book, BREAKS)
        assert desk.get(operation.id) == operation
        assert desk.count("edition") == BEFORE


def test_after_an_edition_that_breaks_an_older_release_is_refused(nowhere: Path | str) -> None:
    with desk_at(nowhere) as newer:
        bring(newer.book, BREAKS, may_break=True)
        words = rf"newer version .*needs edition {NEXT}, this one knows {BEFORE}.* upgrade"
        with pytest.raises(Outdated, match=words), desk_at(nowhere):
            pass
        bring(newer.book, BREAKS)
        assert newer.count("edition") == NEXT


def test_whoever_makes_a_new_book_makes_all_of_it(nowhere: Path | str) -> None:
    with desk_at(nowhere) as desk:
        for table in reversed(TABLES):
            desk.sql(f"DROP TABLE {table}")
        bring(desk.book, BREAKS)
        assert desk.count("edition") == NEXT


#: Each after those that it refers to.
TABLES = (
    *("operations", "journal", "interactions", "wishes", "repeats", "workflows", "workers"),
    *("hook_history", "repairs", "hosts", "host_projects", "notices", "edition", "claim_epoch"),
)


# --- In a fleet ----------------------------------------------------------------------------------


def test_an_edition_that_breaks_waits_until_no_older_host_is_there(fleet: str) -> None:
    with desk_at(fleet) as newer:
        east, west = enrolled(newer.book, "east"), enrolled(newer.book, "west")
        newer.sql("UPDATE hosts SET edition = :number WHERE id = 'west'", number=NEXT)
        with there(fleet, east, west):
            with pytest.raises(StateBusy, match="on these hosts cannot use: east; end their"):
                bring(newer.book, BREAKS, may_break=True)
            bring(newer.book, ADDS)
            later = Edition(NEXT + 1, NEXT, "ALTER TABLE moods ADD COLUMN colour TEXT;")
            known = (*released(), ADDS, later)
            with pytest.raises(StateBusy, match="hosts cannot use: east;"):
                newer.write(
                    lambda writing: migrate(
                        writing.connection, writing.now, may_break=True, known=known
                    )
                )
        _until_nobody_is_there(newer)
        newer.write(
            lambda writing: migrate(writing.connection, writing.now, may_break=True, known=known)
        )
        assert newer.count("edition") == NEXT + 1


def _until_nobody_is_there(desk: Desk) -> None:
    """The server ends a connection a moment after it was closed."""
    _until(lambda: not desk.read(hosts.present))


def _until(happened: Callable[[], bool]) -> None:
    """The server tells nobody."""
    pause = threading.Event()
    for _ in range(PATIENCE_SECONDS * 50):
        if happened():
            return
        pause.wait(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.anyio
async def test_an_older_host_that_comes_in_just_then_is_not_let_in(fleet: str) -> None:
    with opened(fleet) as newer, opened(fleet, host=HostId("east")) as older:
        number = enrolled(newer, "east")
        with connect_postgres(fleet, autocommit=True) as gate, anyio.fail_after(PATIENCE_SECONDS):
            gate.execute("SELECT pg_advisory_lock(%s)", (GATE,))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(anyio.to_thread.run_sync, _break, newer)
                # It has seen that nobody is there, and is at work.
                await anyio.to_thread.run_sync(_until, lambda: _waits(gate, "advisory"))
                tasks.start_soon(_is_not_let_in, fleet, older, number)
                await anyio.to_thread.run_sync(_until, lambda: _waits(gate, "relation"))
                gate.execute("SELECT pg_advisory_unlock(%s)", (GATE,))


def _break(book: Book) -> None:
    bring(book, WAITS, may_break=True)


async def _is_not_let_in(url: str, book: Book, number: int) -> None:
    with pytest.raises(Outdated):
        await Presence(url, book, number).enter()


def _waits(connection: psycopg.Connection, kind: str) -> bool:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = %s"
    return connection.execute(query, (kind,)).fetchone() != (0,)


@pytest.mark.anyio
async def test_a_host_that_comes_back_too_old_writes_nothing_and_leaves(fleet: str) -> None:
    async def nothing() -> None:
        pass

    with opened(fleet, host=HostId("east")) as book, desk_at(fleet) as other:
        number = enrolled(book, "east")
        with pytest.RaisesGroup(Outdated), anyio.fail_after(PATIENCE_SECONDS):
            async with present(fleet, book, number, nothing):
                other.write(lambda writing: _pretend_to_break(writing.connection))
                submitted = other.submission()
                with pytest.raises(Outdated):
                    await book.write(
                        lambda writing: operations.insert_operation(
                            writing, new_operation_id(writing.now), submitted
                        )
                    )
                assert other.count("operations") == 0
                _cut(fleet)
                await anyio.sleep_forever()


def _pretend_to_break(connection: Connection) -> None:
    connection.exec_driver_sql(f"INSERT INTO edition VALUES ({NEXT}, 0, {NEXT})")  # noqa: S608


def _cut(url: str) -> None:
    with connect_postgres(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
