"""Editions of the book: made once, the same everywhere, never taken for an older one."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text
from sqlalchemy.types import BigInteger, Integer, Text

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.store.migrate import migrate
from codex_control_plane_mcp.store.schema import metadata
from tests.store.actors import PATIENCE_SECONDS, Desk
from tests.store.actors import desk as desk_at

OPEN_WHEN_TOLD = """
import os, sys
from pathlib import Path
from tests.store.actors import desk as desk_at

where = sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with desk_at(where) as desk:
    print(desk.submit(desk.submission(str(os.getpid()))).id, desk.count("edition"), flush=True)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where there is no book yet."""
    if request.param == "sqlite":
        return tmp_path / "state.sqlite3"
    request.getfixturevalue("where_postgres_runs")
    url: str = request.getfixturevalue("postgres_url")
    return url


def test_a_state_of_the_former_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "codex-mcp-state.sqlite3"
    with closing(sqlite3.connect(file)) as old:
        old.execute("CREATE TABLE codex_operations (operation_id TEXT PRIMARY KEY)")
    with pytest.raises(StateBusy, match=r"0\.2\.1.*import-state"), desk_at(file):
        pass
    with closing(sqlite3.connect(file)) as old:
        names = [name for (name,) in old.execute("SELECT name FROM sqlite_master")]
    assert names == ["codex_operations", "sqlite_autoindex_codex_operations_1"]


def pictured(connection: Connection) -> dict[str, list[object]]:
    """Everything the database says of its tables."""
    inspector = inspect(connection)
    return {
        table: [
            [(column["name"], str(column["type"])) for column in inspector.get_columns(table)],
            sorted(str(index["name"]) for index in inspector.get_indexes(table)),
        ]
        for table in sorted(inspector.get_table_names())
    }


def test_opening_a_book_again_changes_nothing(desk: Desk) -> None:
    operation = desk.submit()
    before = desk.read(pictured)
    desk.clock.move(1000)
    desk.write(lambda writing: migrate(writing.connection, writing.now))
    with desk_at(desk.where) as again:
        assert again.get(operation.id) == operation
        assert again.read(pictured) == before
        assert again.count("edition") == 1


def test_the_tables_are_those_that_the_code_believes_in(desk: Desk) -> None:
    with desk.book._reader.connect() as connection:
        inspector = inspect(connection)
        assert set(inspector.get_table_names()) == set(metadata.tables)
        for table in metadata.sorted_tables:
            found = {column["name"]: column for column in inspector.get_columns(table.name)}
            assert list(found) == [column.name for column in table.columns]
            for column in table.columns:
                there = found[column.name]
                assert there["nullable"] == bool(column.nullable), (table.name, column.name)
                assert isinstance(there["type"], _kind(column.type)), (table.name, column.name)
            keys = inspector.get_pk_constraint(table.name)["constrained_columns"]
            assert keys == [column.name for column in table.primary_key]


def _kind(type_: object) -> type:
    return next(kind for kind in (BigInteger, Integer, Text) if isinstance(type_, kind))


def test_both_databases_have_the_same_indexes(desk: Desk) -> None:
    with desk.book._reader.connect() as connection:
        inspector = inspect(connection)
        found = {
            str(index["name"]): (
                list(index["column_names"]),
                bool(index["unique"]),
                any("where" in str(option) for option in index.get("dialect_options", {})),
            )
            for table in metadata.tables
            for index in inspector.get_indexes(table)
            if not index.get("duplicates_constraint")
        }
    partial = {name for name, (_, _, condition) in found.items() if condition}
    unique = {name for name, (_, once, _) in found.items() if once}
    assert unique == {
        "operations_by_client_request",
        "operations_same_prompt",
        "operations_one_turn_a_thread",
        "interactions_by_request",
        "wishes_one_answer",
        "wishes_one_cancel",
        "workflows_by_client_request",
    }
    assert partial >= unique - {"interactions_by_request"} | {
        "operations_unfinished",
        "interactions_open",
        "wishes_open",
    }
    assert found["operations_unfinished"][0] == ["status", "created_at"]


def test_a_book_of_a_newer_edition_is_left_alone(nowhere: Path | str) -> None:
    with desk_at(nowhere) as desk:
        desk.sql("INSERT INTO edition (number, applied_at, usable_from) VALUES (999, 0, 999)")
        before = desk.read(pictured)
    with (
        pytest.raises(StateBusy, match=r"newer version .*edition 999,.* upgrade"),
        desk_at(nowhere),
    ):
        pass
    with desk.book._writer.connect() as connection:
        assert pictured(connection) == before
    desk.book.close()


def test_a_migration_that_fails_half_way_leaves_nothing(nowhere: Path | str) -> None:
    with desk_at(nowhere) as desk:
        tables = desk.read(pictured)
        drops = [f"DROP TABLE {name}" for name in ("wishes", "interactions", "journal", "edition")]
        for statement in drops:
            desk.sql(statement)
        # The first edition is applied anew, and stumbles over the table that is there.
        with pytest.raises(Exception, match="already exists"), desk_at(nowhere):
            pass
        assert set(desk.read(pictured)) == set(tables) - {
            "wishes",
            "interactions",
            "journal",
            "edition",
        }


def test_two_processes_that_make_the_same_book_at_once_both_get_it(nowhere: Path | str) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_WHEN_TOLD, str(nowhere)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
            text=True,
        )
        for _ in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("\n")
        child.stdin.flush()
    said = [child.communicate(timeout=PATIENCE_SECONDS)[0].split() for child in children]
    assert [editions for _, editions in said] == ["1"] * 2
    with desk_at(nowhere) as desk:
        query = text("SELECT id FROM operations")
        stored = desk.read(lambda connection: set(connection.scalars(query)))
    assert stored == {id_ for id_, _ in said}
