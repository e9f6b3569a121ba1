"""Every kind of operation, over the fake Codex and over the real binary."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_control_plane_mcp.model.ids import ProjectId, ThreadId
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    ArchiveThread,
    CompactThread,
    CustomTarget,
    ExecutePlan,
    ForkThread,
    Review,
    TurnOptions,
    UnarchiveThread,
    UncommittedChanges,
)
from tests.fakes.wire import Mishap
from tests.work.house import Task
from tests.work.stages import Stage, fake_stage, real_stage

READING = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
HERE = ProjectId("project-1")


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def stage_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(
    stage_name: str, anyio_backend: tuple[str, dict[str, object]]
) -> tuple[str, dict[str, object]]:
    """The real binary lives in real time."""
    return anyio_backend if stage_name == "fake" else ("asyncio", {})


@pytest.fixture
async def stage(stage_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with (fake_stage if stage_name == "fake" else real_stage)(tmp_path) as stage:
        yield stage


async def a_thread(stage: Stage) -> ThreadId:
    ended = await (await stage.house.submit("say One.")).ends()
    assert ended.thread_id is not None
    return ended.thread_id


async def report_of(task: Task) -> str:
    ended = await task.ends()
    assert ended.status is Status.COMPLETED, ended
    assert ended.report is not None
    return ended.report.text


async def reviewed(stage: Stage, thread_id: ThreadId | None, instructions: str) -> Task:
    target = CustomTarget(instructions)
    return await stage.house.enter(
        Review(target, stage.house.cwd, HERE, READING, thread_id=thread_id)
    )


# --- Plans ---------------------------------------------------------------------------------------


async def test_a_plan_is_carried_out_in_its_thread(stage: Stage) -> None:
    thread_id = await a_thread(stage)
    request = ExecutePlan("say Carried out.", thread_id, stage.house.cwd, HERE, READING)
    task = await stage.house.enter(request)

    assert await report_of(task) == "Carried out."
    assert (await task.now()).thread_id == thread_id


# --- Forks ---------------------------------------------------------------------------------------


async def forked(stage: Stage, source: ThreadId, message: str = "") -> Task:
    return await stage.house.enter(
        ForkThread(source, stage.house.cwd, HERE, READING, message=message)
    )


async def test_a_fork_with_a_message_answers_in_a_thread_of_its_own(stage: Stage) -> None:
    source = await a_thread(stage)
    task = await forked(stage, source, "say From the fork.")

    assert await report_of(task) == "From the fork."
    assert (await task.now()).thread_id not in (None, source)
    assert await stage.model_turns(task) == 1


async def test_a_bare_fork_asks_the_model_nothing(stage: Stage) -> None:
    source = await a_thread(stage)
    task = await forked(stage, source)
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.thread_id not in (None, source)
    assert ended.turn_id is None
    follow_up = await stage.house.submit("say Two.", thread_id=ended.thread_id)
    assert await report_of(follow_up) == "Two."


async def test_a_fork_of_nothing_fails(stage: Stage) -> None:
    ended = await (
        await forked(stage, ThreadId("01a20511-94b0-7651-9677-a1c470d6832d"), "say Hello.")
    ).ends()
    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_THREAD_NOT_FOUND"


@pytest.mark.parametrize("mishap", [Mishap.CUT_BEFORE, Mishap.CUT_AFTER], ids=lambda m: m.name)
@pytest.mark.parametrize("method", ["thread/fork", "turn/start"])
async def test_the_line_drops_around_a_fork(stage: Stage, method: str, mishap: Mishap) -> None:
    source = await a_thread(stage)
    stage.scissors.at_next(method, mishap)
    task = await forked(stage, source, "say Once only.")

    assert await report_of(task) == "Once only."
    assert await stage.model_turns(task) == 1


# --- Reviews -------------------------------------------------------------------------------------


async def test_a_review_inline_reports_the_review_and_not_the_answer_before(stage: Stage) -> None:
    thread_id = await a_thread(stage)
    task = await reviewed(stage, thread_id, "say Line 3 is wrong.")

    assert await report_of(task) == "Line 3 is wrong."
    assert (await task.now()).thread_id == thread_id
    assert await task.said() == "Line 3 is wrong."


async def test_a_review_in_a_thread_of_its_own(stage: Stage) -> None:
    task = await reviewed(stage, None, "say All is well.")
    assert await report_of(task) == "All is well."


async def test_a_detached_review_leaves_its_thread_alone(stage: Stage) -> None:
    source = await a_thread(stage)
    task = await stage.house.enter(
        Review(
            CustomTarget("say Seen from the side."),
            stage.house.cwd,
            HERE,
            READING,
            source_thread_id=source,
        )
    )

    assert await report_of(task) == "Seen from the side."
    assert (await task.now()).thread_id != source


async def test_a_review_of_what_is_not_committed(stage: Stage) -> None:
    task = await stage.house.enter(Review(UncommittedChanges(), stage.house.cwd, HERE, READING))
    assert (await task.ends()).status is Status.COMPLETED


async def test_a_review_is_interrupted(stage: Stage) -> None:
    task = await reviewed(stage, None, "hold gate\nsay Too late.")
    await stage.arrived("gate")
    await task.becomes(Status.RUNNING)
    await task.interrupt()

    assert (await task.ends()).status is Status.INTERRUPTED


async def test_the_worker_is_replaced_in_the_middle_of_a_review(stage: Stage) -> None:
    task = await reviewed(stage, None, "hold gate\nsay I looked on.")
    await stage.arrived("gate")
    await task.becomes(Status.RUNNING)
    stage.house.worker.kill()
    worker = await stage.house.hire()
    await task.until(lambda now: now.generation == worker.generation or None)
    stage.release("gate")

    assert await report_of(task) == "I looked on."
    assert await task.said() == "I looked on."
    assert await stage.model_turns(task) == 1


async def test_the_app_server_is_killed_in_the_middle_of_a_review(stage: Stage) -> None:
    task = await reviewed(stage, None, "hold gate\nsay Never.")
    await stage.arrived("gate")
    await task.becomes(Status.RUNNING)
    await stage.kill_the_app_server()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert await stage.model_turns(task) == 1


@pytest.mark.parametrize("on_an_old_thread", [False, True], ids=["new thread", "old thread"])
@pytest.mark.parametrize("mishap", [Mishap.CUT_BEFORE, Mishap.CUT_AFTER], ids=lambda m: m.name)
async def test_the_line_drops_around_the_start_of_a_review(
    stage: Stage, mishap: Mishap, on_an_old_thread: bool
) -> None:
    thread_id = await a_thread(stage) if on_an_old_thread else None
    stage.scissors.at_next("review/start", mishap)
    task = await reviewed(stage, thread_id, "say Looked once.")

    assert await report_of(task) == "Looked once."
    assert await stage.model_turns(task) == 1


# --- Compaction ----------------------------------------------------------------------------------


async def compacted(stage: Stage, thread_id: ThreadId) -> Task:
    return await stage.house.enter(CompactThread(thread_id, stage.house.cwd, HERE))


async def test_a_compaction_ends_and_the_thread_goes_on(stage: Stage) -> None:
    thread_id = await a_thread(stage)
    task = await compacted(stage, thread_id)

    assert (await report_of(task)).startswith("Compacted")
    follow_up = await stage.house.submit("say After.", thread_id=thread_id)
    assert await report_of(follow_up) == "After."


@pytest.mark.parametrize("mishap", [Mishap.CUT_BEFORE, Mishap.CUT_AFTER], ids=lambda m: m.name)
async def test_the_line_drops_around_a_compaction(stage: Stage, mishap: Mishap) -> None:
    thread_id = await a_thread(stage)
    stage.scissors.at_next("thread/compact/start", mishap)
    task = await compacted(stage, thread_id)

    assert (await report_of(task)).startswith("Compacted")


# --- Archive -------------------------------------------------------------------------------------


async def archived(stage: Stage, thread_id: ThreadId) -> Operation:
    return await (await stage.house.enter(ArchiveThread(thread_id, stage.house.cwd, HERE))).ends()


async def unarchived(stage: Stage, thread_id: ThreadId) -> Operation:
    return await (await stage.house.enter(UnarchiveThread(thread_id, stage.house.cwd, HERE))).ends()


async def test_a_thread_is_put_away_and_brought_back(stage: Stage) -> None:
    thread_id = await a_thread(stage)
    assert (await archived(stage, thread_id)).status is Status.COMPLETED
    refused = await (await stage.house.submit("say Hello.", thread_id=thread_id)).ends()
    assert refused.status is Status.FAILED
    assert refused.trouble is not None
    assert "codex_unarchive_thread" in refused.trouble.message

    assert (await unarchived(stage, thread_id)).status is Status.COMPLETED
    assert await report_of(await stage.house.submit("say Back.", thread_id=thread_id)) == "Back."


async def test_what_is_so_already_is_found_to_be_so(stage: Stage) -> None:
    thread_id = await a_thread(stage)
    not_archived = await unarchived(stage, thread_id)
    await archived(stage, thread_id)
    again = await archived(stage, thread_id)

    assert not_archived.report is not None
    assert not_archived.report.text == "The thread was not archived."
    assert again.report is not None
    assert again.report.text == "The thread was archived already."


async def test_a_thread_that_does_not_exist_cannot_be_put_away(stage: Stage) -> None:
    ended = await archived(stage, ThreadId("01a20511-94b0-7651-9677-a1c470d6832d"))
    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_THREAD_NOT_FOUND"


@pytest.mark.parametrize("mishap", [Mishap.CUT_BEFORE, Mishap.CUT_AFTER], ids=lambda m: m.name)
async def test_the_line_drops_around_archiving(stage: Stage, mishap: Mishap) -> None:
    thread_id = await a_thread(stage)
    stage.scissors.at_next("thread/archive", mishap)

    assert (await archived(stage, thread_id)).status is Status.COMPLETED
