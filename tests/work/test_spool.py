"""What is kept of an operation while the book does not answer: in order, bounded, written once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Interrupted, Operation, Status, TokenUsage
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.bell import News
from codex_control_plane_mcp.store.book import Book, T, Writing, opened
from codex_control_plane_mcp.work import spool
from codex_control_plane_mcp.work.case import Case
from codex_control_plane_mcp.work.spool import Spool, forget_others
from tests.model.lives import LIFE
from tests.store.actors import Desk, HandClock

ONE, TWO = Entry(Category.COMMAND, "$ one", "item-1"), Entry(Category.COMMAND, "$ two", "item-2")
USAGE = TokenUsage(1, 0, 2, 0, 3, None)


class ForgetfulBook(Book):
    """A book whose next commit may be carried out without anybody hearing of it."""

    loses_an_answer = False

    def write_now(self, work: Callable[[Writing], T], *, pen: bool = True) -> tuple[T, News]:
        result = super().write_now(work, pen=pen)
        if self.loses_an_answer:
            self.loses_an_answer = False
            raise StateBusy("the line broke while the server committed")
        return result


@dataclass
class Table:
    """A running operation, and what is kept of it."""

    desk: Desk
    book: ForgetfulBook
    clock: HandClock
    folder: Path
    operation: Operation

    def spool(self) -> Spool:
        """As a worker has it that knows the operation as it is now."""
        return Spool(self.folder, Case(self.desk.get(self.operation.id), self.book))

    def lines(self) -> list[str]:
        return self.desk.journal(self.operation.id)[self.operation.last_seq :]

    @property
    def files(self) -> list[Path]:
        return list(self.folder.glob("*"))


@pytest.fixture
def table(tmp_path: Path) -> Iterator[Table]:
    clock = HandClock()
    with opened(
        tmp_path / "state.sqlite3",
        make=lambda writer, reader: ForgetfulBook(writer, reader, clock=clock, threads=False),
    ) as book:
        assert isinstance(book, ForgetfulBook)
        desk = Desk(book, clock, tmp_path)
        running = desk.record(desk.submit(), *LIFE[Status.RUNNING])
        yield Table(desk, book, clock, tmp_path / "spool", running)


async def test_what_is_kept_is_written_in_order_with_its_time_and_kept_no_more(
    table: Table,
) -> None:
    table.spool().keep([ONE], None)
    table.spool().keep([TWO], USAGE)
    said_at = table.clock.now()
    table.clock.move(60)
    (file,) = table.files
    assert file.stat().st_mode & 0o777 == 0o600
    await table.spool().drain()
    assert (table.lines(), table.files) == (["$ one", "$ two"], [])
    after = table.desk.get(table.operation.id)
    assert (after.token_usage, after.heard_at) == (USAGE, table.clock.now())
    sql = f"SELECT at FROM journal WHERE seq > {table.operation.last_seq}"  # noqa: S608
    ats = table.desk.read(lambda reading: [row.at for row in reading.exec_driver_sql(sql)])
    assert ats == [said_at, said_at]


async def test_a_commit_that_nobody_heard_of_is_not_repeated(table: Table) -> None:
    """Neither the one after which things were kept, nor the one that writes them down, also where
    another worker has taken over in between."""
    before = table.spool()
    table.desk.write(lambda writing: operations.record(writing, table.operation, entries=[ONE]))
    before.keep([ONE, TWO], None)
    for _ in range(2):
        table.book.loses_an_answer = True
        with pytest.raises(StateBusy):
            await table.spool().drain()
    taken_over = table.desk.get(table.operation.id)
    table.desk.write(lambda writing: operations.record(writing, taken_over, entries=[ONE]))
    await table.spool().drain()
    assert table.lines() == ["$ one", "$ two", "$ one"]


async def test_half_a_line_of_a_worker_that_was_killed_is_left_out(table: Table) -> None:
    table.spool().keep([ONE, TWO], None)
    (file,) = table.files
    file.write_bytes(file.read_bytes()[:-5])
    await table.spool().drain()
    assert (table.lines(), table.files) == (["$ one"], [])


async def test_what_is_kept_is_bounded_and_says_so_once(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MAX_BYTES", 200)
    for entry in (ONE, TWO, ONE, TWO, ONE):
        table.spool().keep([entry], USAGE)
    await table.spool().drain()
    first, *rest = table.lines()
    assert first == "$ one"
    assert [line.partition(":")[0] for line in rest] == [
        "What Codex said from here on was not kept"
    ]
    assert table.desk.get(table.operation.id).token_usage == USAGE


async def test_no_secret_is_kept(table: Table) -> None:
    table.spool().keep(
        [Entry(Category.COMMAND, "$ curl -H 'Authorization: Bearer abc123def456ghi'")], None
    )
    (file,) = table.files
    assert "abc123def456ghi" not in file.read_text()


async def test_of_what_has_ended_or_is_not_ours_nothing_is_kept(table: Table) -> None:
    table.spool().keep([ONE], None)
    table.desk.record(table.operation, Interrupted())
    ended = table.lines()
    await table.spool().drain()
    assert (table.lines(), table.files) == (ended, [])
    table.spool().keep([ONE], None)
    forget_others(table.folder, {table.operation.id})
    assert len(table.files) == 1
    forget_others(table.folder, set())
    assert table.files == []


async def test_what_cannot_be_kept_or_read_holds_nobody_up(table: Table) -> None:
    table.folder.write_text("no folder")
    table.spool().keep([ONE], None)
    await table.spool().drain()
    table.folder.unlink()
    table.spool().keep([ONE], None)
    (file,) = table.files
    file.write_text("nonsense\n")
    await table.spool().drain()
    assert (table.lines(), table.files) == ([], [])
