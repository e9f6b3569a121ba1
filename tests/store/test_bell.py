"""The bell rings after the commit, is not missed, and wakes only those who listen."""

import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from sqlalchemy import Connection

from codex_control_plane_mcp.model.ids import Generation, OperationId, new_operation_id
from codex_control_plane_mcp.model.operation import Cancelled, Claimed, Fact, Operation, Status
from codex_control_plane_mcp.store import lookup, operations, wishes
from codex_control_plane_mcp.store.bell import Bell, Listener, Subject
from codex_control_plane_mcp.store.book import Writing, opened
from tests.store.actors import PATIENCE_SECONDS, Desk, HandClock

MINE, OTHER = OperationId("op-mine"), OperationId("op-other")


def rung(listener: Listener) -> bool:
    """Whether a wait would end at once."""
    return listener._event.is_set()


async def submit(desk: Desk) -> Operation:
    submission = desk.submission()
    return await desk.book.write(
        lambda writing: operations.insert_operation(
            writing, new_operation_id(writing.now), submission
        )
    )


async def test_who_listens_wakes_at_the_next_write_and_sees_it(desk: Desk) -> None:
    operation = await submit(desk)
    seen: list[Status] = []

    async def look(listener: Listener) -> None:
        await listener.wait()
        found = await desk.book.read(lambda c: lookup.get(c, operation.id))
        assert found is not None
        seen.append(found.status)

    with anyio.fail_after(PATIENCE_SECONDS), desk.book.bell.listening(operation.id) as listener:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, listener)
            await desk.book.write(lambda w: operations.record(w, operation, Cancelled()))
    assert seen == [Status.CANCELLED]


async def test_a_ring_between_reading_and_waiting_is_remembered(desk: Desk) -> None:
    with anyio.fail_after(PATIENCE_SECONDS), desk.book.bell.listening() as listener:
        await submit(desk)
        await listener.wait()
        assert not rung(listener)
        await submit(desk)
        await submit(desk)
        await listener.wait()
        assert not rung(listener)


async def test_only_the_operations_listened_to_are_heard(desk: Desk) -> None:
    mine, other = await submit(desk), await submit(desk)
    calls: list[str] = []
    with (
        desk.book.bell.listening(mine.id, on_ring=lambda: calls.append("mine")) as one,
        desk.book.bell.listening(on_ring=lambda: calls.append("all")) as everything,
    ):
        await desk.book.write(lambda writing: operations.record(writing, other, Cancelled()))
        assert (rung(one), rung(everything)) == (False, True)
        await desk.book.write(lambda writing: operations.record(writing, mine, Cancelled()))
        assert rung(one)
    assert sorted(calls) == ["all", "all", "mine"]


async def test_a_transaction_that_fails_does_not_ring(desk: Desk) -> None:
    operation = await submit(desk)

    def work(writing: Writing) -> None:
        operations.record(writing, operation, Cancelled())
        raise ZeroDivisionError

    with desk.book.bell.listening() as listener:
        with pytest.raises(ZeroDivisionError):
            await desk.book.write(work)
        assert not rung(listener)


async def test_a_transaction_that_changes_nothing_does_not_ring(desk: Desk) -> None:
    operation = await submit(desk)
    with desk.book.bell.listening() as listener:
        await desk.book.write(lambda writing: lookup.get(writing.connection, operation.id))
        assert not rung(listener)


async def test_it_rings_after_the_commit_only(desk: Desk) -> None:
    operation = await submit(desk)
    before_the_commit: list[bool] = []
    with desk.book.bell.listening() as listener:

        def work(writing: Writing) -> None:
            operations.record(writing, operation, Cancelled())
            before_the_commit.append(rung(listener))

        await desk.book.write(work)
        assert before_the_commit == [False]
        assert rung(listener)


async def test_a_writer_who_is_cancelled_has_written_all_or_nothing_and_rings_if_written(
    desk: Desk,
) -> None:
    operation = await submit(desk)
    with desk.book.bell.listening() as listener, anyio.CancelScope() as scope:

        def work(writing: Writing) -> None:
            operations.record(writing, operation, Cancelled())
            anyio.from_thread.run_sync(scope.cancel)

        await desk.book.write(work)
    assert rung(listener)
    assert desk.get(operation.id).status is Status.CANCELLED


async def test_who_cares_for_one_subject_is_woken_by_no_other(desk: Desk) -> None:
    """Else each of a hundred turns would wake the queue and every follower once a second."""
    bell = desk.book.bell
    operation = await submit(desk)

    async def rings(work: Callable[[Writing], object]) -> set[str]:
        with (
            bell.listening(about=Subject.QUEUE) as queue,
            bell.listening(operation.id, about=Subject.WISH) as wish,
            bell.listening(operation.id, about=Subject.FACT) as fact,
        ):
            await desk.book.write(work)
            listeners = {"queue": queue, "wish": wish, "fact": fact}
            return {name for name, listener in listeners.items() if rung(listener)}

    def move(*facts: Fact) -> Callable[[Writing], object]:
        return lambda writing: operations.record(writing, desk.get(operation.id), *facts)

    other = desk.submission()
    assert await rings(lambda w: operations.insert_operation(w, OTHER, other)) == {"queue"}
    assert await rings(move(Claimed(Generation(1)))) == {"fact"}
    assert await rings(lambda w: wishes.wish_cancel(w, operation.id, "ann")) == {"queue", "wish"}
    assert await rings(lambda w: wishes.wish_cancel(w, operation.id, "bob")) == set()
    assert await rings(move(Cancelled())) == {"fact", "queue"}


def test_who_no_longer_listens_is_forgotten() -> None:
    bell = Bell()
    calls: list[None] = []
    with bell.listening(MINE, on_ring=lambda: calls.append(None)):
        bell.ring(frozenset({(Subject.FACT, OTHER)}))
        bell.ring(frozenset({(Subject.FACT, MINE), (Subject.WISH, OTHER)}))
    bell.ring(frozenset({(Subject.FACT, MINE)}))
    assert len(calls) == 1


async def test_without_threads_it_is_the_same_book(sqlite_path: Path) -> None:
    with opened(sqlite_path, threads=False) as book, book.bell.listening() as listener:
        desk = Desk(book, HandClock(), sqlite_path)
        operation = await submit(desk)
        assert rung(listener)
        assert await book.read(lambda c: lookup.get(c, operation.id)) == operation


async def test_many_tasks_write_and_read_at_once(desk: Desk) -> None:
    async def one() -> None:
        operation = await submit(desk)
        found = await desk.book.read(lambda c: lookup.get(c, operation.id))
        assert found == operation

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(one)
    assert desk.count("operations") == 20


async def test_a_reading_is_one_consistent_view(desk: Desk) -> None:
    operation = await submit(desk)

    def look_twice(connection: Connection) -> tuple[object, object]:
        first = lookup.get(connection, operation.id)
        desk.record(operation, Cancelled())
        return first, lookup.get(connection, operation.id)

    first, second = await anyio.to_thread.run_sync(desk.book.read_now, look_twice)
    assert first == second == operation
    assert desk.get(operation.id).status is Status.CANCELLED


def test_a_reader_cannot_write(desk: Desk) -> None:
    operation = desk.submit()

    def write(connection: Connection) -> None:
        operations.record(Writing(connection, desk.clock.now()), operation, Cancelled())

    with pytest.raises(Exception, match=r"read-?only"):
        desk.read(write)
    assert desk.get(operation.id) == operation


async def test_a_glance_into_a_file_needs_no_thread(sqlite_desk: Desk) -> None:
    threads = [
        await sqlite_desk.book.glance(lambda _: threading.get_ident()),
        await sqlite_desk.book.read(lambda _: threading.get_ident()),
    ]
    assert threads[0] == threading.get_ident() != threads[1]


async def test_a_glance_sees_what_was_written(desk: Desk) -> None:
    operation = await submit(desk)
    found = await desk.book.glance(lambda reading: lookup.get(reading, operation.id))
    assert found == operation
