"""A book on one machine becomes the book of a fleet: all of it, or nothing."""

from collections.abc import Iterator

import pytest

from codex_control_plane_mcp.errors import InvalidArgument, StateBusy
from codex_control_plane_mcp.model.ids import HostId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.store import lookup, move, queue, wishes
from codex_control_plane_mcp.store.book import Book, opened
from codex_control_plane_mcp.store.move import copy, tables
from codex_control_plane_mcp.store.schema import (
    claim_epoch,
    edition,
    host_projects,
    hosts,
    metadata,
)
from tests.model.lives import LIFE
from tests.store.actors import Desk, a_question

pytestmark = pytest.mark.usefixtures("where_postgres_runs")


@pytest.fixture
def target(postgres_url: str) -> Iterator[Book]:
    with opened(postgres_url, host=HostId("east")) as book:
        yield book


@pytest.fixture
def filled(sqlite_desk: Desk) -> Desk:
    desk = sqlite_desk
    desk.enter()
    for number in range(3):
        desk.submit(desk.submission(f"Zeile {number}: \u00e4\u4e2d\U0001f600 'quoted'\n"))
    running = desk.record(desk.submit(), *LIFE[Status.RUNNING])
    asked = desk.ask(running, a_question())
    desk.write(lambda writing: wishes.wish_answer(writing, running.id, asked.id, {"a": 1}, "anna"))
    return desk


def test_every_row_is_there_and_what_ran_here_runs_on_this_host(filled: Desk, target: Book) -> None:
    copied = {one.table: one.rows for one in copy(filled.book, target)}
    assert copied == {table.name: filled.count(table.name) for table in tables()}
    assert copied["operations"] == 4
    there = target.read_now(lookup.every)
    for former, moved in zip(filled.read(lookup.every), there, strict=True):
        assert moved.host == ("east" if former.host == "" else former.host)
        assert moved.request == former.request
    assert [job.host for job in target.read_now(queue.active_jobs)] == ["east"]


def test_a_database_that_holds_a_book_is_refused_and_left_alone(filled: Desk, target: Book) -> None:
    copy(filled.book, target)
    with pytest.raises(InvalidArgument, match="not empty"):
        copy(filled.book, target)
    assert len(target.read_now(lookup.every)) == 4


def test_what_cannot_be_copied_whole_leaves_nothing(
    filled: Desk, target: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = iter("ab")
    monkeypatch.setattr(move, "_digest", lambda _: (0, next(digests)))
    with pytest.raises(StateBusy, match="differs after it was copied"):
        copy(filled.book, target)
    assert target.read_now(lookup.every) == []


def test_no_table_is_forgotten() -> None:
    own = {table.name for table in (edition, claim_epoch, hosts, host_projects)}
    assert {table.name for table in tables()} | own == set(metadata.tables)
