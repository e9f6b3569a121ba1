"""The SQLite file: nobody else's to read, durable, with one writer, and fast where it is hot."""

import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.errors import StateBusy
from codex_control_plane_mcp.model.ids import (
    HERE,
    AppServerId,
    InteractionId,
    OperationId,
    ProjectId,
    ThreadId,
    TurnId,
)
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.store import (
    chats,
    counts,
    hook_history,
    interactions,
    journal,
    lookup,
    queue,
    wishes,
    workers,
)
from codex_control_plane_mcp.store.book import Writing, opened
from codex_control_plane_mcp.store.interactions import Search
from tests.model.lives import LIFE
from tests.store.actors import NOON, Desk
from tests.store.actors import desk as desk_at


def pragma(connection: Connection, name: str) -> object:
    return connection.execute(text(f"PRAGMA {name}")).scalar_one()


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_only_the_owner_may_read_any_of_its_files(sqlite_path: Path) -> None:
    former = os.umask(0)
    try:
        with desk_at(sqlite_path) as desk:
            desk.submit()
            files = sorted(sqlite_path.parent.iterdir())
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in files}
    finally:
        os.umask(former)
    assert modes == dict.fromkeys(
        ("state.sqlite3", "state.sqlite3-shm", "state.sqlite3-wal"), 0o600
    )


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_file_that_others_could_read_is_closed_to_them(sqlite_path: Path) -> None:
    sqlite_path.touch(0o644)
    with desk_at(sqlite_path):
        assert stat.S_IMODE(sqlite_path.stat().st_mode) == 0o600


def test_the_writer_waits_for_the_disk_and_keeps_a_log_and_checks_references(
    sqlite_desk: Desk,
) -> None:
    def work(writing: Writing) -> list[object]:
        names = ("synchronous", "journal_mode", "foreign_keys")
        return [pragma(writing.connection, name) for name in names]

    assert sqlite_desk.write(work) == [2, "wal", 1]


def test_a_reader_is_one_that_cannot_write(sqlite_desk: Desk) -> None:
    assert sqlite_desk.read(lambda connection: pragma(connection, "query_only")) == 1
    with pytest.raises(StateBusy, match="readonly"):
        sqlite_desk.read(lambda connection: connection.execute(text("DELETE FROM operations")))


def test_a_writer_holds_the_pen_from_its_first_moment(sqlite_desk: Desk) -> None:
    """Two that had both begun by reading would dead-lock on the way to writing."""
    with desk_at(sqlite_desk.where, lock_wait_seconds=0.05) as other:

        def work(writing: Writing) -> None:
            assert writing.connection.execute(text("SELECT 1")).scalar_one() == 1
            with pytest.raises(StateBusy, match="another process holds"):
                other.submit()

        sqlite_desk.write(work)
        other.submit()


def test_readers_are_not_held_up_by_a_writer(sqlite_desk: Desk) -> None:
    operation = sqlite_desk.submit()
    with desk_at(sqlite_desk.where, lock_wait_seconds=0.05) as other:
        sqlite_desk.write(lambda _: other.get(operation.id))


@pytest.mark.parametrize("odd", ["a b", "what?", "100%25", "#1", "ünï", "it's", "a&b=c;d"])
def test_the_file_is_the_one_that_was_named_however_odd_its_name(tmp_path: Path, odd: str) -> None:
    path = tmp_path / odd / "state.sqlite3"
    path.parent.mkdir()
    with desk_at(path) as desk:
        desk.submit()
    assert [file.name for file in path.parent.iterdir()] == ["state.sqlite3"]
    assert list(tmp_path.iterdir()) == [path.parent]
    with desk_at(path) as desk:
        assert desk.count("operations") == 1


def test_the_log_is_folded_into_the_file_when_the_book_is_closed(sqlite_path: Path) -> None:
    with desk_at(sqlite_path) as desk:
        operation = desk.submit()
    assert list(sqlite_path.parent.iterdir()) == [sqlite_path]
    with desk_at(sqlite_path) as desk:
        assert desk.get(operation.id) == operation


# --- Query plans --------------------------------------------------------------------------------

ONE = OperationId("op-1")
#: The query, and what its plan must say (`-` for a table nobody may walk through).
HOT: dict[str, tuple[Callable[[Connection], object], str]] = {
    "the length of the queue": (
        queue.queued_count,
        "INDEX operations_unfinished (status=?)",
    ),
    "what may start": (
        lambda c: queue._decide(c, [], Limits(), NOON),
        "SEARCH q USING COVERING INDEX operations_lines (agent_id=?)",
    ),
    "the lines": (
        lambda c: queue._decide(c, [], Limits(), NOON),
        "SEARCH q USING COVERING INDEX operations_lines (agent_id>?)",
    ),
    "when a line last moved": (
        lambda c: queue._decide(c, [], Limits(), NOON),
        "SEARCH q USING INDEX operations_served (agent_id=? AND started_at>?)",
    ),
    "the steering that waits": (
        lambda c: queue.look(c, HERE, Limits(), NOON),
        "USING INDEX operations_steering",
    ),
    "those before one": (
        lambda c: c.scalar(queue._COUNT_BEFORE, {"due": 1, "name": "op"}),
        "SCAN operations USING COVERING INDEX operations_lines",
    ),
    "the front of the queue": (
        lambda c: c.scalars(queue._FRONT, {"count": 5}).all(),
        "SCAN operations USING COVERING INDEX operations_lines",
    ),
    "what is not wanted any more": (
        queue.queued_unwanted,
        "SEARCH operations USING INDEX sqlite_autoindex_operations_1 (id=?)",
    ),
    "whether it is not wanted": (lambda c: wishes.is_unwanted(c, ONE), "INDEX wishes_one_cancel"),
    "what runs": (queue.active_jobs, "INDEX operations_unfinished (status=?)"),
    "the unfinished": (lookup.unfinished, "USING INDEX operations_unfinished"),
    "one operation": (
        lambda c: lookup.get(c, ONE),
        "autoindex_operations_1 (id=?)",
    ),
    "the marks of some": (
        lambda c: lookup.marks(c, [ONE], NOON),
        "autoindex_operations_1 (id=?)",
    ),
    "the same prompt": (
        lambda c: lookup.unfinished_with_prompt(c, "key"),
        "INDEX operations_same_prompt (prompt_key=?)",
    ),
    "the same client request": (
        lambda c: lookup.by_client_request(c, "id"),
        "INDEX operations_by_client_request (client_request_id=?)",
    ),
    "the newest in a thread": (
        lambda c: lookup.newest_in_thread(c, ThreadId("t")),
        "INDEX operations_by_thread (thread_id=?)",
    ),
    "the next in a thread": (
        lambda c: chats.operation_in_thread(c, ThreadId("t"), (Moment(1), ONE), back=True),
        "INDEX operations_by_thread (thread_id=? AND created_at<?)",
    ),
    "the threads of a project": (
        lambda c: chats.threads(c, ProjectId("p"), (Moment(1), ONE), 10),
        "INDEX operations_by_project (project_id=? AND created_at<?)",
    ),
    "whether a thread has a later operation": (
        lambda c: chats.threads(c, ProjectId("p"), None, 10),
        "SEARCH later USING INDEX operations_by_thread (thread_id=? AND created_at>?)",
    ),
    "how a thread was filed": (
        lambda c: chats.is_archived(c, ThreadId("t")),
        "INDEX operations_by_thread (thread_id=?)",
    ),
    "the unfinished in a thread": (
        lambda c: chats.unfinished_in_thread(c, ThreadId("t")),
        "INDEX operations_by_thread (thread_id=?)",
    ),
    "the latest plan of a thread": (
        lambda c: chats.latest_plan(c, ThreadId("t")),
        "INDEX operations_by_thread (thread_id=?)",
    ),
    "all that is unfinished": (
        chats.unfinished,
        "SCAN operations USING INDEX operations_unfinished",
    ),
    "a turn without its thread": (
        lambda c: chats.by_turn_alone(c, TurnId("u")),
        "INDEX operations_by_turn (turn_id=?)",
    ),
    "the journal as a chat": (
        lambda c: journal.chronicle(c, ONE, (Category.ASSISTANT,)),
        "PRIMARY KEY (operation_id=?)",
    ),
    "the projects": (lookup.projects, "INDEX operations_by_project (project_id>?)"),
    "the newest troubles": (
        lambda c: lookup.recent_troubles(c, 5),
        "USING INDEX operations_in_trouble",
    ),
    "a page of the operations": (
        lambda c: lookup.newest(c, 10, before=ONE),
        "autoindex_operations_1 (id<?)",
    ),
    "a page of a thread's": (
        lambda c: lookup.newest(c, 10, before=ONE, thread_id=ThreadId("t")),
        "INDEX operations_by_thread (thread_id=?)",
    ),
    "the next that hooks told of a thread": (
        lambda c: hook_history.in_thread(c, ThreadId("t"), (Moment(1), 1), back=True),
        "INDEX hook_history_by_thread (thread_id=? AND (at,seq)<(?,?))",
    ),
    "the journal behind a mark": (
        lambda c: journal.after(c, ONE, 5, 10),
        "PRIMARY KEY (operation_id=? AND seq>?)",
    ),
    "the end of the journal": (lambda c: journal.newest(c, ONE, 5), "PRIMARY KEY (operation_id=?)"),
    "open interactions of one": (
        lambda c: interactions.open_of(c, ONE),
        "INDEX interactions_by_request (operation_id=?)",
    ),
    "one request of Codex": (
        lambda c: interactions.by_request(c, ONE, AppServerId("a"), "1"),
        "interactions_by_request (operation_id=? AND app_server_id=? AND request_id=?)",
    ),
    "open interactions": (
        lambda c: interactions.listed(c, Search(), behind=None, limit=10),
        "USING INDEX interactions_open",
    ),
    "open interactions, counted": (interactions.open_count, "INDEX interactions_open"),
    "the oldest open interaction": (counts.oldest_question, "INDEX interactions_open"),
    "operations that have not ended, counted": (
        counts.unfinished,
        "INDEX operations_unfinished",
    ),
    "operations that have ended, counted": (counts.ended, "COVERING INDEX operations_ended"),
    "turns that ended lately, counted": (
        lambda c: counts.turns_ended(c, NOON),
        "INDEX operations_ended (status=? AND completed_at>?)",
    ),
    "open wishes": (wishes.open_wishes, "USING INDEX wishes_open"),
    "open wishes of one": (lambda c: wishes.open_wishes(c, ONE), "USING INDEX wishes_open"),
    "answers on their way": (wishes.answers_on_their_way, "wishes USING INDEX wishes_"),
    "the newest answer": (
        lambda c: wishes.newest_answer(c, InteractionId("ia")),
        "wishes_by_interaction (interaction_id=?)",
    ),
    "the owner": (workers.latest, "INDEX workers_by_host"),
}


@contextmanager
def listening_to(desk: Desk) -> Iterator[list[tuple[str, object]]]:
    """Every query that reaches the database, with its values, as the driver gets them."""
    heard: list[tuple[str, object]] = []

    def hear(*said: object) -> None:
        heard.append((str(said[2]), said[3]))

    event.listen(desk.book._reader, "before_cursor_execute", hear)
    try:
        yield heard
    finally:
        event.remove(desk.book._reader, "before_cursor_execute", hear)


@pytest.mark.parametrize("name", HOT)
def test_a_hot_query_goes_by_its_index(sqlite_desk: Desk, name: str) -> None:
    query, expected = HOT[name]
    with listening_to(sqlite_desk) as heard:
        sqlite_desk.read(query)
    *_, (statement, values) = [said for said in heard if said[0].startswith(("SELECT", "WITH"))]
    database = sqlite3.connect(str(sqlite_desk.where))
    try:
        rows = database.execute(f"EXPLAIN QUERY PLAN {statement}", values)  # type: ignore[arg-type]
        plan = "; ".join(row[3] for row in rows)
    finally:
        database.close()
    assert expected in plan
    assert " USING " in plan


def test_finished_operations_do_not_make_the_queue_longer_to_read(sqlite_desk: Desk) -> None:
    """The partial index holds the unfinished only, and the plan above goes by it."""
    for _ in range(5):
        sqlite_desk.record(sqlite_desk.submit(), *LIFE[Status.CANCELLED])
    waiting = sqlite_desk.submit()
    front = sqlite_desk.read(lambda c: queue.front(c, Limits(), NOON, 9))
    assert [one.id for one, _ in front] == [waiting.id]


def test_a_book_can_be_opened_twice_by_one_process(sqlite_path: Path) -> None:
    with opened(sqlite_path), desk_at(sqlite_path) as desk:
        desk.submit()
