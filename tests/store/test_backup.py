"""A copy of a book in use is a whole book of one moment, or there is none."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.model.ids import new_operation_id
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.backup import Copied, copy
from codex_control_plane_mcp.store.book import Writing
from tests.model.lives import COMPLETED
from tests.store.actors import Desk
from tests.store.actors import desk as desk_at
from tests.store.test_retention import begun, ended, noted, pruned


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A name that an address of SQLite would have to quote."""
    return tmp_path / "100 % safe?.sqlite3"


def test_a_copy_goes_on_as_the_book_that_it_was(
    sqlite_desk: Desk, sqlite_path: Path, target: Path
) -> None:
    done, running = ended(sqlite_desk, "r-1"), begun(sqlite_desk, "r-2")

    copied = copy(sqlite_path, target)

    assert copied == Copied(target.stat().st_size, operations=2, unfinished=1)
    with desk_at(target) as restored:
        for operation in (done, running):
            assert restored.get(operation.id) == sqlite_desk.get(operation.id)
            assert restored.journal(operation.id) == sqlite_desk.journal(operation.id)
        restored.clock.move(60)
        restored.enter()
        assert noted(restored, running, "on it goes").last_seq == running.last_seq + 1
    assert sqlite_desk.get(running.id) == running


def test_who_writes_does_not_keep_the_copy_waiting_nor_get_into_it_by_halves(
    sqlite_desk: Desk, sqlite_path: Path, target: Path
) -> None:
    sqlite_desk.submit()

    def submit_and_copy(writing: Writing) -> Copied:
        id_ = new_operation_id(writing.now)
        operations.insert_operation(writing, id_, sqlite_desk.submission())
        return copy(sqlite_path, target)

    assert sqlite_desk.write(submit_and_copy).operations == 1
    assert sqlite_desk.count("operations") == 2


def test_what_a_killed_worker_left_in_its_log_is_in_the_copy(
    sqlite_desk: Desk, sqlite_path: Path, target: Path, tmp_path: Path
) -> None:
    sqlite_desk.submit()
    left = tmp_path / "left" / sqlite_path.name
    left.parent.mkdir()
    for part in ("", "-wal"):
        shutil.copy(f"{sqlite_path}{part}", f"{left}{part}")

    assert copy(left, target).operations == 1


def test_what_was_pruned_is_in_the_file_and_not_in_its_copy(
    sqlite_desk: Desk, sqlite_path: Path, target: Path
) -> None:
    operation = noted(sqlite_desk, begun(sqlite_desk), "a word " * 2000)
    operation = sqlite_desk.record(operation, COMPLETED)
    sqlite_desk.clock.move(60)
    assert pruned(sqlite_desk, older_than=sqlite_desk.clock.now()).entries
    in_use = b"".join(path.read_bytes() for path in sqlite_path.parent.glob("state*"))
    assert b"a word a word" in in_use

    copy(sqlite_path, target)

    assert b"a word a word" not in target.read_bytes()
    with desk_at(target) as restored:
        assert restored.get(operation.id) == operation


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_a_copy_is_for_the_eyes_of_its_owner_and_alone(
    sqlite_desk: Desk, sqlite_path: Path, tmp_path: Path
) -> None:
    sqlite_desk.submit()
    folder = tmp_path / "copies"
    folder.mkdir()
    copy(sqlite_path, folder / "a")
    assert [path.name for path in folder.iterdir()] == ["a"]
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o600


def test_no_file_is_written_over(sqlite_desk: Desk, sqlite_path: Path, target: Path) -> None:
    sqlite_desk.submit()
    target.write_text("last week's")
    for taken in (target, sqlite_path):
        with pytest.raises(InvalidArgument, match="name a new one"):
            copy(sqlite_path, taken)
    assert target.read_text() == "last week's"
    assert sqlite_desk.count("operations") == 1


def test_a_folder_that_is_not_there_is_named(sqlite_desk: Desk, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no copy can be made in .*nowhere: No such file"):
        copy(tmp_path / "state.sqlite3", tmp_path / "nowhere" / "copy")


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    """For this process, the disk is full for every file that grows so large."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.skipif(sys.platform == "win32", reason="no such limits there")
def test_on_a_full_disk_nothing_is_left(
    sqlite_desk: Desk, sqlite_path: Path, tmp_path: Path
) -> None:
    noted(sqlite_desk, begun(sqlite_desk), *("x" * 1000 for _ in range(200)))
    folder = tmp_path / "copies"
    folder.mkdir()
    with no_file_beyond(100_000), pytest.raises(StateBusy, match="the room left for"):
        copy(sqlite_path, folder / "copy")
    assert list(folder.iterdir()) == []
    assert copy(sqlite_path, folder / "copy").operations == 1


def _zeros(path: Path) -> None:
    """As a bad disk would leave it: the first page is well, those behind it are gone."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))


def _no_database(path: Path) -> None:
    path.write_bytes(b"what is this " * 1000)


def _another_database(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("harm", [_zeros, _no_database, _another_database])
def test_of_a_book_that_is_none_no_copy_is_left(
    harm: Callable[[Path], None], tmp_path: Path
) -> None:
    path, folder = tmp_path / "state.sqlite3", tmp_path / "copies"
    folder.mkdir()
    with desk_at(path) as desk:
        ended(desk)
    harm(path)

    with pytest.raises(StateBusy, match="no copy was made"):
        copy(path, folder / "copy")
    assert list(folder.iterdir()) == []
