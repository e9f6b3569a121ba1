"""Operations read as chats."""

from __future__ import annotations

from codex_control_plane_mcp.model.ids import OperationId, ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.operation import Done, Operation, Report, Status, ThreadBound
from codex_control_plane_mcp.model.request import ArchiveThread, Submission, UnarchiveThread
from codex_control_plane_mcp.store import chats
from tests.model.lives import BOUND, COMPLETED, LIFE
from tests.store.actors import Desk

HOUSE = ProjectId("house")


def done(desk: Desk, thread: str, project: str = "house") -> Operation:
    """A task in a thread, to its end, a moment after the one before."""
    desk.clock.move(1)
    operation = desk.submit(desk.submission(project=project, thread=thread))
    claimed, _, *others = LIFE[Status.COMPLETED]
    bound = ThreadBound(ThreadId(thread), BOUND.app_server_id, BOUND.policy)
    return desk.record(operation, claimed, bound, *others)


def filed(desk: Desk, kind: type[ArchiveThread] | type[UnarchiveThread], thread: str) -> None:
    desk.clock.move(1)
    operation = desk.submit(Submission(kind(ThreadId(thread), "/work/house", HOUSE)))
    desk.record(operation, LIFE[Status.COMPLETED][0], Done(Report("Filed.", None)))


def named(desk: Desk, limit: int = 10) -> list[tuple[str | None, bool]]:
    """The threads of the house, page by page."""
    found: list[chats.Thread] = []
    while True:
        place = (found[-1].newest.created_at, found[-1].newest.id) if found else None
        page = desk.read(lambda c, place=place: chats.threads(c, HOUSE, place, limit))  # type: ignore[misc]
        found += page
        if len(page) < limit:
            return [(one.newest.thread_id, one.is_archived) for one in found]


def test_a_project_has_each_thread_once_the_newest_first(desk: Desk) -> None:
    for thread in ("a", "b", "c", "a", "d"):
        done(desk, thread)
    done(desk, "elsewhere", project="garden")
    desk.submit()  # a new chat that has no thread yet

    for limit in (1, 2, 10):
        assert [thread for thread, _ in named(desk, limit)] == ["d", "a", "c", "b"]


def test_operations_of_the_same_moment_are_all_there(desk: Desk) -> None:
    for number in range(7):
        done(desk, f"t-{number}")
        desk.clock.move(-1)
    assert {thread for thread, _ in named(desk, 2)} == {f"t-{number}" for number in range(7)}


def test_a_thread_is_archived_if_that_was_the_last_that_was_done_about_it(desk: Desk) -> None:
    for thread in ("a", "b", "c"):
        done(desk, thread)
    filed(desk, ArchiveThread, "a")
    filed(desk, ArchiveThread, "b")
    filed(desk, UnarchiveThread, "b")
    desk.submit(Submission(ArchiveThread(ThreadId("c"), "/work/house", HOUSE)))  # not done yet

    assert dict(named(desk)) == {"a": True, "b": False, "c": False}
    assert desk.read(lambda c: chats.is_archived(c, ThreadId("a")))
    assert not desk.read(lambda c: chats.is_archived(c, ThreadId("nobody knows")))


def test_a_thread_is_gone_through_in_either_direction(desk: Desk) -> None:
    made = [done(desk, "a").id for _ in range(4)]
    done(desk, "b")
    for back, expected in ((False, made), (True, made[::-1])):
        found: list[OperationId] = []
        place = None
        while True:
            one = desk.read(
                lambda c, place=place, back=back: chats.operation_in_thread(  # type: ignore[misc]
                    c, ThreadId("a"), place, back=back
                )
            )
            if one is None:
                break
            found.append(one.id)
            place = (one.created_at, one.id)
        assert found == expected


def test_a_turn_is_found_without_its_thread_and_a_plan_by_its_thread(desk: Desk) -> None:
    done(desk, "a")
    newest = done(desk, "a")
    found = desk.read(lambda c: chats.by_turn_alone(c, TurnId("turn-1")))
    assert found is not None
    assert found.id == newest.id
    planned = desk.read(lambda c: chats.latest_plan(c, ThreadId("a")))
    assert planned is not None
    assert planned.report == COMPLETED.report
    assert desk.read(lambda c: chats.latest_plan(c, ThreadId("b"))) is None
    assert desk.read(lambda c: chats.by_turn_alone(c, TurnId("turn-9"))) is None


def test_the_unfinished_are_those_that_have_not_ended(desk: Desk) -> None:
    done(desk, "a")
    desk.clock.move(1)
    first = desk.submit(desk.submission(thread="a"))
    desk.clock.move(1)
    second = desk.submit()

    everywhere = desk.read(chats.unfinished)
    assert [one.id for one in everywhere] == [second.id, first.id]
    assert [one.status for one in everywhere] == [Status.QUEUED] * 2
    here = desk.read(lambda c: chats.unfinished_in_thread(c, ThreadId("a")))
    assert [one.id for one in here] == [first.id]
