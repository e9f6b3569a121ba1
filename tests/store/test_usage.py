"""What each operation took, over both databases."""

from __future__ import annotations

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import AppServerId, OperationId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Operation,
    Policy,
    Report,
    Status,
    ThreadBound,
    TokenUsage,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.store import lookup, operations, usage
from tests.store.actors import Desk

MINUTE = 60
APP_SERVER = AppServerId("4711@boot:1")
POLICY = Policy("read-only", "on-request", "gpt-test")


def tokens(total: int) -> TokenUsage:
    return TokenUsage(total, 0, 0, 0, total, None)


def ran(desk: Desk, thread: str, total: int | None, known: str | None = None) -> OperationId:
    """An operation in a thread, with the tokens that the thread then had; it took a minute."""
    operation: Operation = desk.submit(desk.submission(thread=known))
    turn = TurnId(f"turn-{operation.id}")
    operation = desk.record(
        operation,
        Claimed(desk.enter()),
        ThreadBound(ThreadId(thread), APP_SERVER, POLICY),
        TurnIntended(None),
        TurnAccepted(turn),
    )
    desk.clock.move(MINUTE)
    usage = None if total is None else tokens(total)
    desk.write(
        lambda writing: operations.record(
            writing, operation, Completed(Report("done", turn)), token_usage=usage
        )
    )
    return operation.id


def test_tokens_of_a_thread_are_known_before_and_after_each_operation(desk: Desk) -> None:
    first = ran(desk, "t-1", 100)
    desk.clock.move(MINUTE)
    since = desk.clock.now()
    second = ran(desk, "t-1", 250, known="t-1")
    elsewhere = ran(desk, "t-2", 70, known="t-2")
    silent = ran(desk, "t-3", None)

    found = desk.read(lambda reading: usage.used(reading, since))
    assert [one.id for one in found] == [second, elsewhere, silent]
    assert [one.tokens and one.tokens.total for one in found] == [250, 70, None]
    assert [one.tokens_before and one.tokens_before.total for one in found] == [100, None, None]
    assert [one.is_first for one in found] == [False, True, False]
    assert all(
        one.completed_at == one.started_at + MINUTE * 1000 for one in found if one.completed_at
    )
    everything = desk.read(lambda reading: usage.used(reading, Moment(0)))
    assert everything[0].id == first
    assert everything[0].is_first


def test_lists_are_by_status_and_project_and_by_end(desk: Desk) -> None:
    ended = ran(desk, "t-1", 1)
    desk.clock.move(MINUTE)
    waiting = desk.submit(desk.submission(project="garden")).id
    desk.clock.move(MINUTE)
    last = ran(desk, "t-2", 1)

    def newest(**which: object) -> list[OperationId]:
        found = desk.read(lambda reading: lookup.newest(reading, 10, **which))  # type: ignore[arg-type]
        return [one.id for one in found]

    assert newest() == [last, waiting, ended]
    assert newest(statuses={Status.COMPLETED}) == [last, ended]
    assert newest(project_id="garden") == [waiting]
    assert newest(statuses={Status.COMPLETED}, before=last) == [ended]
    by_end = desk.read(lambda reading: lookup.ended_last(reading, 1))
    assert [one.id for one in by_end] == [last]
