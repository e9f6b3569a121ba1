"""Fifty operations over three projects and four agents, every limit watched at every commit."""

from itertools import count

import anyio

from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.request import Priority
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex, Turn
from tests.work.house import House, Task
from tests.work.limits import LimitWatch

LIMITS = Limits(everywhere=5, per_project=3, per_agent=2, writing_per_project=2)
PROJECTS = ["house", "garden", "shed"]
AGENTS = ["ann", "bob", "eve", "joe"]
KEYS = [(), ("src",), ("src/api",), ("docs",), ("src/web", "docs/web"), ("",)]
SANDBOXES = [Sandbox.WORKSPACE_WRITE, Sandbox.READ_ONLY, Sandbox.WORKSPACE_WRITE]
PRIORITIES = list(Priority)


async def test_fifty_operations_all_end_and_no_limit_is_ever_passed(
    empty_house: House, codex: FakeCodex
) -> None:
    house, watch = empty_house, LimitWatch(LIMITS)
    with house.book.bell.listening(on_ring=lambda: watch.look(house.book)):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(codex_works, codex)
            await house.hire(limits=LIMITS)
            # Each project has a thread, to which others will want to write at the same time.
            first = [await submit(house, number) for number in range(3)]
            threads = [(await task.ends()).thread_id for task in first]
            rest = [await submit(house, number, threads[number % 3]) for number in range(3, 50)]
            ended = [await task.ends() for task in (*first, *rest)]
            tasks.cancel_scope.cancel()

    assert [one.status for one in ended] == [Status.COMPLETED] * 50
    assert watch.broken == []
    watch.look_back(house.book)
    assert watch.broken == []
    # It was as full as it may be: what was never reached was never tried.
    assert watch.most == {"everywhere": 5, "project": 3, "agent": 2, "thread": 1, "writes": 2}


async def submit(house: House, number: int, thread_id: str | None = None) -> Task:
    """Every fifth goes to the thread; all have of everything something in turn."""
    return await house.submit(
        f"Task {number}.",
        project=PROJECTS[number % 3],
        thread_id=thread_id if number % 5 == 0 else None,
        agent_id=AGENTS[number % 4],
        sandbox=SANDBOXES[number // 3 % 3],
        priority=PRIORITIES[number // 2 % 3],
        resource_keys=KEYS[number * 5 // 7 % 6],
    )


async def codex_works(codex: FakeCodex) -> None:
    """Every turn ends, after a while of its own."""

    async def work(turn: Turn, seconds: float) -> None:
        await anyio.sleep(seconds)
        turn.completes("Done.")

    async with anyio.create_task_group() as tasks:
        for number in count(1):
            tasks.start_soon(work, await codex.turn(number), 10 + number * 37 % 100)
