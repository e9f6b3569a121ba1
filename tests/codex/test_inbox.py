"""Inboxes keep what comes early, wake their reader, and stay small without losing what counts."""

import anyio
import pytest
from trio.testing import MockClock

from codex_control_plane_mcp.codex.inbox import (
    EARLY_SECONDS,
    MAX_EARLY_THREADS,
    MAX_WAITING_CHARACTERS,
    MAX_WAITING_DROPPABLE,
    Inbox,
    Inboxes,
    Said,
)
from codex_control_plane_mcp.codex.words.events import (
    AgentMessageDelta,
    ConnectionLost,
    DeltasDropped,
    GoalCleared,
    PlanDelta,
    ThreadStatusChanged,
    UnknownNotification,
)
from codex_control_plane_mcp.codex.words.questions import NotOurs
from codex_control_plane_mcp.codex.words.things import ThreadStatus
from codex_control_plane_mcp.model.ids import ThreadId, TurnId

TH, TU = ThreadId("th"), TurnId("tu")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    return "trio", {"clock": MockClock(autojump_threshold=0)}


def delta(text: str, item_id: str = "it") -> AgentMessageDelta:
    return AgentMessageDelta(TH, TU, item_id, text)


def unknown(number: int) -> UnknownNotification:
    return UnknownNotification(TH, "x", number)


async def test_a_reader_is_woken_and_gets_everything_at_once() -> None:
    got: list[Said] = []
    inbox = Inbox(TH)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def read() -> None:
                got.extend(await inbox.receive_many())

            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            inbox.put(GoalCleared(TH))
            inbox.put(delta("a"))

    assert got == [GoalCleared(TH), delta("a")]


async def test_what_comes_before_the_inbox_is_open_is_kept() -> None:
    inboxes = Inboxes()
    inboxes.deliver(TH, GoalCleared(TH))
    with anyio.fail_after(5), inboxes.open(TH) as inbox:
        inboxes.deliver(TH, delta("a"))
        assert await inbox.receive_many() == [GoalCleared(TH), delta("a")]


async def test_what_came_too_early_is_forgotten() -> None:
    inboxes = Inboxes()
    inboxes.deliver(TH, GoalCleared(TH))
    await anyio.sleep(EARLY_SECONDS + 1)
    other = ThreadId("other")
    inboxes.deliver(other, GoalCleared(other))

    with inboxes.open(TH) as inbox:
        assert inbox.take_all() == []


async def test_only_so_many_threads_are_remembered() -> None:
    inboxes = Inboxes()
    threads = [ThreadId(str(number)) for number in range(MAX_EARLY_THREADS + 1)]
    for thread in threads:
        inboxes.deliver(thread, GoalCleared(thread))

    with inboxes.open(threads[0]) as oldest, inboxes.open(threads[-1]) as newest:
        assert oldest.take_all() == []
        assert newest.take_all() == [GoalCleared(threads[-1])]


async def test_one_thread_has_one_reader() -> None:
    inboxes = Inboxes()
    with inboxes.open(TH), pytest.raises(RuntimeError, match="somebody reads"), inboxes.open(TH):
        pass
    with inboxes.open(TH):
        pass


async def test_everybody_learns_that_the_line_is_lost_also_those_who_come_later() -> None:
    inboxes = Inboxes()
    with anyio.fail_after(5):
        with inboxes.open(TH) as inbox:
            inboxes.deliver(TH, GoalCleared(TH))
            inboxes.lose("gone")
            assert await inbox.receive_many() == [GoalCleared(TH), ConnectionLost("gone")]
        with inboxes.open(ThreadId("late")) as late:
            assert await late.receive_many() == [ConnectionLost("gone")]


def test_deltas_that_wait_are_joined_until_something_else_comes() -> None:
    inbox = Inbox(TH)
    for said in (
        delta("a"),
        delta("b"),
        delta("x", "other"),
        delta("c"),
        PlanDelta(TH, TU, "it", "p"),
    ):
        inbox.put(said)
    inbox.put(GoalCleared(TH))
    inbox.put(delta("d"))

    assert inbox.take_all() == [
        delta("ab"),
        delta("x", "other"),
        delta("c"),
        PlanDelta(TH, TU, "it", "p"),
        GoalCleared(TH),
        delta("d"),
    ]
    assert inbox.take_all() == []


def test_of_a_state_only_the_newest_waits() -> None:
    inbox = Inbox(TH)
    for kind in ("active", "idle"):
        inbox.put(ThreadStatusChanged(TH, ThreadStatus(kind)))
        inbox.put(GoalCleared(TH))

    assert inbox.take_all() == [
        GoalCleared(TH),
        ThreadStatusChanged(TH, ThreadStatus("idle")),
        GoalCleared(TH),
    ]


def test_a_full_inbox_drops_text_and_says_how_much_but_keeps_what_counts() -> None:
    inbox = Inbox(TH)
    inbox.put(delta("x" * MAX_WAITING_CHARACTERS))
    inbox.put(delta("abc"))
    inbox.put(delta("de"))
    inbox.put(GoalCleared(TH))
    inbox.put(NotOurs(1, TH, "request", {}))

    dropped, kept, *rest = inbox.take_all()
    assert dropped == DeltasDropped(TH, 2, 5)
    assert isinstance(kept, AgentMessageDelta)
    assert len(kept.text) == MAX_WAITING_CHARACTERS
    assert rest == [GoalCleared(TH), NotOurs(1, TH, "request", {})]
    inbox.put(delta("room again"))
    assert inbox.take_all() == [delta("room again")]


def test_many_small_things_are_bounded_too() -> None:
    inbox = Inbox(TH)
    for number in range(MAX_WAITING_DROPPABLE + 10):
        inbox.put(unknown(number))
        inbox.put(delta("x", str(number)))
    inbox.put(GoalCleared(TH))

    taken = inbox.take_all()
    assert len(taken) == MAX_WAITING_DROPPABLE + 2
    assert taken[0] == DeltasDropped(
        TH, MAX_WAITING_DROPPABLE + 20, (MAX_WAITING_DROPPABLE // 2) + 10
    )
    assert taken[-1] == GoalCleared(TH)


async def test_a_cancelled_reader_loses_nothing() -> None:
    inbox = Inbox(TH)
    with anyio.move_on_after(1) as scope:
        await inbox.receive_many()
    assert scope.cancelled_caught
    inbox.put(GoalCleared(TH))
    with anyio.fail_after(5):
        assert await inbox.receive_many() == [GoalCleared(TH)]


async def test_a_stream_alone_wakes_a_patient_reader_once_and_anything_else_at_once() -> None:
    inbox = Inbox(TH)

    async def speak() -> None:
        for number in range(10):
            inbox.put(delta(f"{number} "))
            await anyio.sleep(0.3)
        inbox.put(GoalCleared(TH))

    async with anyio.create_task_group() as tasks:
        begin = anyio.current_time()
        tasks.start_soon(speak)
        with anyio.fail_after(10):
            assert await inbox.receive_many(begin + 1) == [delta("0 1 2 3 ")]
            assert anyio.current_time() == begin + 1
            assert await inbox.receive_many(begin + 9) == [
                delta("4 5 6 7 8 9 "),
                GoalCleared(TH),
            ]
            assert anyio.current_time() < begin + 4


async def test_a_patient_reader_is_nudged_over_what_streams() -> None:
    inbox = Inbox(TH)
    inbox.put(delta("a"))
    inbox.nudge()
    with anyio.fail_after(5):
        assert await inbox.receive_many(anyio.current_time() + 60) == [delta("a")]
