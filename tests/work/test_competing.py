"""Several workers want the same state: two on SQLite, four on PostgreSQL.

The lock of the operating system keeps them apart in the product. Here nothing does: they enter,
take over, claim and write at the same moments, those that were fenced off come back, and the model
is asked once for each operation all the same.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import anyio
import pytest

from codex_control_plane_mcp.model.journal import Category, Entry
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.policy import Sandbox
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.selftest.fake_codex import FakeCodex
from codex_control_plane_mcp.store import operations, queue
from codex_control_plane_mcp.store.operations import Fenced
from tests.work.conftest import open_fake_house
from tests.work.house import House, Task, WallClock, Worker

#: How often each worker enters, if it is fenced off so often.
ENTRIES = 3
#: A history has so many commits where one worker is alone.
COMMITS = 34
#: Longer than a taken-over turn needs to be followed again.
WORK_SECONDS = 20.0


@dataclass
class Commits:
    """Counts them, for those who wait for one."""

    count: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)

    def one_more(self) -> None:
        self.count += 1
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def more(self, how_many: int) -> None:
        wanted = self.count + how_many
        while self.count < wanted:
            await self._changed.wait()


@pytest.fixture
def crowd(where: Path | str) -> int:
    return 2 if isinstance(where, Path) else 4


@asynccontextmanager
async def _contested(
    where: Path | str, codex: FakeCodex, clock: WallClock, moments: list[list[int]]
) -> AsyncIterator[House]:
    """A house where a worker enters for each list, and again, so many commits after it was fenced
    off."""
    commits = Commits()
    async with open_fake_house(where, codex, clock) as house:
        with house.book.bell.listening(on_ring=commits.one_more):
            async with anyio.create_task_group() as contest:
                for waits in moments:
                    contest.start_soon(_compete, house, commits, waits)
                yield house
                contest.cancel_scope.cancel()
        await _every_former_one_is_refused(house, codex)


async def _compete(house: House, commits: Commits, waits: list[int]) -> None:
    for wait in waits:
        await commits.more(wait)
        worker = await house.hire(limits=Limits(everywhere=3))
        await worker.ended.wait()


async def _every_former_one_is_refused(house: House, codex: FakeCodex) -> None:
    task = await house.submit("Stay.\nhold end\nsay Done.")
    running = await task.becomes(Status.RUNNING)
    newest = house.worker.generation
    assert newest == len(house.workers) == max(worker.generation for worker in house.workers)
    assert running.generation == newest
    for former in house.workers[:-1]:
        for write in _writes_of(former, running):
            with pytest.raises(Fenced):
                await house.book.write(write)
    assert await task.now() == running
    codex.release("end")
    await task.becomes(Status.COMPLETED)


def _writes_of(worker: Worker, operation: Operation) -> list[Callable[..., object]]:
    generation = worker.generation
    line = [Entry(Category.NOTICE, "I am still here.")]
    return [
        lambda writing: queue.claim(writing, generation, Limits()),
        lambda writing: operations.adopt(writing, generation),
        lambda writing: operations.record(
            writing, replace(operation, generation=generation), entries=line
        ),
    ]


async def _client(house: House, codex: FakeCodex) -> list[Task]:
    """What a client does meanwhile. Returns what must have been completed at the end."""
    # Who comes in the same millisecond comes in no order.
    asking = await house.submit("Ask.\nstream 30 words\nrun! make # it must be\nsay Made.")
    await anyio.sleep(0.001)
    talking = await house.submit("Talk.\nsay One.\nhold door\nsay Two.", project="project-2")
    await anyio.sleep(0.001)
    hanging = await house.submit("Hang.\nsay Waiting.\nhang", sandbox=Sandbox.WORKSPACE_WRITE)
    await anyio.sleep(0.001)
    waiting = await house.submit("Never.\nsay No.", sandbox=Sandbox.WORKSPACE_WRITE)
    await asking.answer(await asking.asked(), decision="accept")
    await waiting.interrupt()
    await waiting.becomes(Status.CANCELLED)
    await hanging.becomes(Status.RUNNING)
    await hanging.interrupt()
    await hanging.becomes(Status.INTERRUPTED)
    ended = await asking.becomes(Status.COMPLETED)
    more = await house.submit("More.\nstream 30 words\nsay Done.", thread_id=ended.thread_id)
    await codex.until(lambda: "door" in codex.arrived or None)
    await anyio.sleep(WORK_SECONDS)
    codex.release("door")
    return [asking, talking, more]


async def _all_is_well(tasks: list[Task], codex: FakeCodex) -> None:
    for task in tasks:
        ended = await task.becomes(Status.COMPLETED)
        (turn,) = (one for one in codex.turns if one.id == ended.turn_id)
        assert ended.report is not None
        assert ended.report.text == turn.said()
        assert await task.said() == turn.said_in_all()
        assert (await task.lines(Category.STATE)).count("Taken from the queue.") == 1


@pytest.mark.parametrize("seed", range(12))
async def test_whoever_comes_whenever_each_operation_is_asked_for_once(
    where: Path | str, crowd: int, codex: FakeCodex, clock: WallClock, seed: int
) -> None:
    """F11."""
    dice = random.Random(f"competing {seed}")  # noqa: S311
    moments = [
        [dice.randrange(1, COMMITS // ENTRIES) for _ in range(ENTRIES)] for _ in range(crowd)
    ]
    moments[0][0] = 0  # Nothing is committed as long as nobody works.
    async with _contested(where, codex, clock, moments) as house:
        with anyio.fail_after(house.patience_seconds):
            await _all_is_well(await _client(house, codex), codex)
        assert len(house.workers) > crowd


@pytest.mark.parametrize("commit", range(1, COMMITS, 3))
async def test_all_who_come_at_the_same_moment_do_each_thing_once(
    where: Path | str, crowd: int, codex: FakeCodex, clock: WallClock, commit: int
) -> None:
    """F11: one works, and at one commit all the others enter."""
    moments = [[0], *([commit] for _ in range(crowd - 1))]
    async with _contested(where, codex, clock, moments) as house:
        with anyio.fail_after(house.patience_seconds):
            await _all_is_well(await _client(house, codex), codex)
        assert len(house.workers) == crowd
