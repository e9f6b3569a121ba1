"""What the queue and the workers look like from the desk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.queue import QueueLook, WorkerLook
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views_queue import QueuedLine
from codex_control_plane_mcp.model.ids import Generation
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import OperationType, Priority
from codex_control_plane_mcp.store import workers
from tests.desk.reception import Reception, reception


async def submit(at: Reception, message: str, **more: Any) -> str:
    at.clock.at += 1000
    given: dict[str, Any] = {"operation_type": OperationType.START_CHAT, "cwd": str(at.project)}
    return (await at.desk.submit(Task(message=message, **(given | more)))).operation_id


async def test_an_empty_house_has_an_empty_queue_and_shows_its_limits(at: Reception) -> None:
    shown = await at.desk.queue_status(QueueLook())
    assert (shown.queued_count, shown.active_count, shown.queued, shown.active) == (0, 0, (), ())
    limits = shown.limits
    assert (limits.max_active_turns_global, limits.max_active_turns_per_thread) == (4, 1)


async def test_who_waits_is_shown_with_what_for_and_who_runs_with_the_slots_it_takes(
    tmp_path: Path,
) -> None:
    writes = {"sandbox": Sandbox.WORKSPACE_WRITE}
    with reception(tmp_path, max_active_write_turns_per_project=1) as at:
        runs = await submit(at, "one", agent_id="ann", resource_keys=("src",), **writes)
        await at.workshop.start(runs)
        low = await submit(at, "two", priority=Priority.LOW, **writes)
        keyed = await submit(at, "three", resource_keys=("src/api",))
        free = await submit(at, "four")
        at.clock.at += 2000
        shown = await at.desk.queue_status(QueueLook())

    (active,) = shown.active
    assert (active.operation_id, active.age_seconds) == (runs, 5.0)
    assert active.slots == ("global", "project", "agent", "thread", "project_writes")
    assert [(one.operation_id, one.position, one.reason) for one in shown.queued] == [
        (keyed, 1, f"its resource keys meet those of {runs}"),
        (free, 2, "it is about to start"),
        (low, 3, "another writing turn runs in this project"),
    ]
    last = shown.queued[-1]
    assert (last.priority, last.age_seconds, last.agent_id) == ("low", 4.0, None)
    assert isinstance(last, QueuedLine)
    assert shown.queued[0].resource_keys == ("src/api",)


async def test_a_part_of_the_queue_is_shown_and_all_of_it_counted(at: Reception) -> None:
    for number in range(7):
        running = await submit(at, f"task {number}")
        if number < 2:
            await at.workshop.start(running, thread=f"t-{number}")
    some = await at.desk.queue_status(QueueLook(limit=1))
    assert (some.queued_count, some.active_count) == (5, 2)
    assert (len(some.queued), len(some.active)) == (1, 1)
    for status, queued, active in (("queued", 5, 0), ("active", 0, 2)):
        part = await at.desk.queue_status(QueueLook(status=status))  # type: ignore[arg-type]
        assert (len(part.queued), len(part.active)) == (queued, active)
        assert (part.queued_count, part.active_count) == (5, 2)


async def test_the_workers_are_shown_newest_first_with_what_became_of_them(at: Reception) -> None:
    for number in range(3):
        await at.book.write(
            lambda writing, id_=f"w-{number}": workers.enter(writing, id_, 4711, "0.3.0")  # type: ignore[misc]
        )
        at.clock.at += 1000
    await at.book.write(lambda writing: workers.leave(writing, Generation(2)))
    # The stand-in for the workshop is generation 1.
    driven = await submit(at, "one")
    await at.workshop.start(driven)

    shown = (await at.desk.worker_status(WorkerLook())).workers
    assert [(one.generation, one.status, one.driving) for one in shown] == [
        (3, "present", ()),
        (2, "left", ()),
        (1, "replaced", (driven,)),
    ]
    assert shown[0].pid == 4711
    assert shown[1].left_at == Moment(at.clock.at - 1000)
    assert len((await at.desk.worker_status(WorkerLook(limit=1))).workers) == 1
    for one in shown:
        only = await at.desk.worker_status(WorkerLook(status=one.status))  # type: ignore[arg-type]
        assert only.workers == (one,)


async def test_before_any_worker_there_is_none(at: Reception) -> None:
    assert (await at.desk.worker_status(WorkerLook())).workers == ()
