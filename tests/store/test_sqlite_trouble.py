"""What a machine may do to the file: each time a clear error, and nothing half stored."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.operation import Cancelled, Status
from codex_control_plane_mcp.store.engine import _keep_a_log
from tests.store.actors import PATIENCE_SECONDS, Desk
from tests.store.actors import desk as desk_at

posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX")

HOLD_THE_LOCK = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""

#: No file of the child may grow beyond so many bytes: its disk is full.
FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
from codex_control_plane_mcp.errors import StateBusy
from tests.store.actors import desk as desk_at

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with desk_at(Path(sys.argv[1])) as desk:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    for number in range(500):
        try:
            operation = desk.submit(desk.submission(f"{number} " + "word " * 200))
        except StateBusy as error:
            print(error)
            break
        print(operation.id, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(desk.submit(desk.submission("there is room again")).id)
"""

#: Root may write whatever it likes, so the child is somebody else.
OPEN_AS_A_STRANGER = """
import os, sys
from pathlib import Path
from codex_control_plane_mcp.errors import StateBusy
from tests.store.actors import desk as desk_at

if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with desk_at(Path(sys.argv[1])) as desk:
        desk.submit()
        print("stored")
except StateBusy as error:
    print(error)
"""


@contextmanager
def locked_by_another_process(path: Path) -> Iterator[None]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        assert child.stdout.readline() == "held\n"
        yield
    finally:
        child.communicate(timeout=PATIENCE_SECONDS)


def in_a_child(script: str, *arguments: object) -> list[str]:
    """What `script` prints, line by line."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return done.stdout.splitlines()


def refusal(path: Path) -> str:
    """Why a book at `path` cannot be opened."""
    with pytest.raises(StateBusy) as refused, desk_at(path):
        pass
    return refused.value.message


def test_a_book_locked_for_longer_than_the_wait_is_busy_and_stores_nothing(
    sqlite_path: Path,
) -> None:
    with desk_at(sqlite_path, lock_wait_seconds=0.1) as desk:
        operation = desk.submit()
        with locked_by_another_process(sqlite_path):
            with pytest.raises(StateBusy, match=r"another process holds .* try again") as busy:
                desk.submit()
            with pytest.raises(StateBusy):
                desk.record(operation, Cancelled())
            assert desk.get(operation.id) == operation
        assert busy.value.retryable
        assert desk.count("operations") == desk.count("journal") == 1
        assert desk.record(operation, Cancelled()).status is Status.CANCELLED


def test_a_book_locked_while_it_is_opened_is_busy(sqlite_path: Path) -> None:
    with desk_at(sqlite_path):
        pass
    with (
        locked_by_another_process(sqlite_path),
        pytest.raises(StateBusy, match="another process holds"),
        desk_at(sqlite_path, lock_wait_seconds=0.1),
    ):
        pass


def test_a_full_book_says_so_stores_nothing_and_goes_on_once_there_is_room(
    sqlite_desk: Desk,
) -> None:
    """`max_page_count` is SQLite's own disk that is full."""
    operation = sqlite_desk.submit()
    with sqlite_desk.book._writer.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        connection.rollback()
    long = "word " * 5000
    before = sqlite_desk.count("journal")
    with pytest.raises(StateBusy, match="the disk is full: nothing was stored"):
        deque(sqlite_desk.submit(sqlite_desk.submission(f"{n} {long}")) for n in range(100))
    stored = sqlite_desk.count("operations")
    assert sqlite_desk.count("journal") - before == stored - 1
    assert sqlite_desk.get(operation.id) == operation
    with sqlite_desk.book._writer.connect() as connection:
        connection.execute(text("PRAGMA max_page_count = 1000000"))
        connection.rollback()
    sqlite_desk.submit(sqlite_desk.submission(long))
    assert sqlite_desk.count("operations") == stored + 1


@posix
@pytest.mark.parametrize("limit", [150_000, 200_001])
def test_on_a_full_disk_what_was_acknowledged_is_there_and_what_was_refused_is_not(
    sqlite_path: Path, limit: int
) -> None:
    *acknowledged, refused, last = in_a_child(FILL_THE_DISK, sqlite_path, limit)
    assert "nothing was stored" in refused
    with desk_at(sqlite_path) as desk:
        query = text("SELECT id FROM operations ORDER BY id")
        stored = desk.read(lambda connection: list(connection.scalars(query)))
        assert stored == sorted([*acknowledged, last])
        assert desk.count("journal") == len(stored)
    with closing(sqlite3.connect(sqlite_path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@posix
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "advice"),
    [(0o444, 0o755, "cannot be written"), (None, 0o555, "cannot be written")],
    ids=["a read-only file", "a read-only folder"],
)
def test_a_place_that_cannot_be_written_is_named_with_advice(
    file_mode: int | None, folder_mode: int, advice: str
) -> None:
    # Not pytest's own folder: a stranger may not enter that.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "state.sqlite3")
        if file_mode is not None:
            with desk_at(path):
                pass
            path.chmod(file_mode)
        Path(folder).chmod(folder_mode)
        (said,) = in_a_child(OPEN_AS_A_STRANGER, path)
        Path(folder).chmod(0o700)
    assert advice in said
    assert "state.sqlite3" in said


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(sqlite_path: Path) -> None:
    words = b"Dear diary, today I was taken for a database. " * 200
    sqlite_path.write_bytes(words)
    assert "names a file that is not a state database" in refusal(sqlite_path)
    assert sqlite_path.read_bytes() == words


def test_a_damaged_file_is_refused_with_advice(sqlite_path: Path) -> None:
    with desk_at(sqlite_path) as desk:
        desk.submit()
    pages = bytearray(sqlite_path.read_bytes())
    pages[4096:] = b"\xaa" * (len(pages) - 4096)
    sqlite_path.write_bytes(pages)
    assert "damaged; restore a backup" in refusal(sqlite_path)


def test_a_file_damaged_while_it_is_open_is_an_error_that_says_so(sqlite_path: Path) -> None:
    with desk_at(sqlite_path) as desk:
        operations = [desk.submit(desk.submission("word " * 900 + str(n))) for n in range(20)]
    with desk_at(sqlite_path) as desk:
        size = sqlite_path.stat().st_size
        with sqlite_path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xaa" * (size - 4096))
        with pytest.raises(StateBusy, match="damaged"):
            deque(desk.get(operation.id) for operation in operations)


def test_a_folder_in_place_of_the_file_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    assert "cannot be opened; check CODEX_MCP_STATE_DB" in refusal(tmp_path)
    missing = tmp_path / "missing" / "state.sqlite3"
    assert "cannot be opened; check CODEX_MCP_STATE_DB" in refusal(missing)
    assert not missing.parent.exists()


def test_who_opens_a_new_book_while_another_makes_it_waits_its_turn(sqlite_path: Path) -> None:
    """SQLite refuses to begin a log at once, however long it may wait otherwise."""
    with (
        closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other,
        closing(sqlite3.connect(sqlite_path, isolation_level=None)) as ours,
    ):
        other.execute("BEGIN EXCLUSIVE")

        def let_go_when_we_wait(statement: str) -> None:
            if statement.startswith("BEGIN") and other.in_transaction:
                other.execute("COMMIT")

        ours.set_trace_callback(let_go_when_we_wait)
        _keep_a_log(ours)  # type: ignore[arg-type]  # it has what is needed of one
        assert ours.execute("PRAGMA journal_mode").fetchone() == ("wal",)
