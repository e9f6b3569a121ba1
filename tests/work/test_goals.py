"""Goals: Codex goes on by itself, over the fake Codex and over the real binary.

A goal's objective is the script that each further turn plays.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_control_plane_mcp.codex.words.things import Goal as CodexGoal
from codex_control_plane_mcp.codex.words.verbs import SetGoal
from codex_control_plane_mcp.model.ids import ProjectId, ThreadId
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Operation, Status
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import ExecutePlan, Goal, GoalCompletion, TurnOptions
from tests.fakes.wire import Mishap
from tests.work.house import Task
from tests.work.stages import Stage, fake_stage, real_stage

READING = TurnOptions(Sandbox.READ_ONLY, ApprovalPolicy.ON_REQUEST)
MET = 'call update_goal {"status": "complete"}'
PLENTY = 1_000_000


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
def stage_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(
    stage_name: str, anyio_backend: tuple[str, dict[str, object]]
) -> tuple[str, dict[str, object]]:
    return anyio_backend if stage_name == "fake" else ("asyncio", {})


@pytest.fixture
async def stage(stage_name: str, tmp_path: Path) -> AsyncIterator[Stage]:
    async with (fake_stage if stage_name == "fake" else real_stage)(tmp_path) as stage:
        yield stage


async def pursued(stage: Stage, first: str, goal: Goal, thread_id: ThreadId | None = None) -> Task:
    """A plan that is carried out with a goal, in a thread that was there."""
    if thread_id is None:
        thread_id = (await (await stage.house.submit("say Planned.")).ends()).thread_id
    assert thread_id is not None
    request = ExecutePlan(
        first, thread_id, stage.house.cwd, ProjectId("project-1"), READING, goal=goal
    )
    return await stage.house.enter(request)


async def goal_of(stage: Stage, operation: Operation) -> CodexGoal | None:
    """Codex's own word."""
    assert operation.thread_id is not None
    async with stage.house.connect() as session:
        return await session.get_goal(ThreadId(operation.thread_id))


def report_of(operation: Operation) -> str:
    assert operation.status is Status.COMPLETED, operation
    assert operation.report is not None
    return operation.report.text


async def test_the_operation_ends_when_its_goal_is_met_and_reports_the_last_turn(
    stage: Stage,
) -> None:
    task = await pursued(stage, "say Begun.", Goal(f"{MET}\nsay It is met.", PLENTY))
    ended = await task.ends()

    assert report_of(ended) == "It is met."
    assert ended.report is not None
    assert ended.report.turn_id == ended.turn_id
    assert (await task.said()) == "Begun.It is met."
    assert ended.goal is not None
    assert ended.goal.status == "complete"
    assert await goal_of(stage, ended) is None  # It was cleared.
    assert await stage.model_turns(task) == 1  # One was asked for; the other came by itself.


async def test_a_goal_ends_with_its_tokens(stage: Stage) -> None:
    task = await pursued(stage, "say Begun.", Goal("say More.", 150, GoalCompletion.SET_COMPLETE))
    ended = await task.ends()

    assert report_of(ended) == "More."
    left = await goal_of(stage, ended)
    assert left is not None
    assert left.status == "budgetLimited"  # It was not reached, whatever was to be done then.
    assert ended.goal is not None
    assert ended.goal.tokens_used == left.tokens_used >= 150


async def test_a_goal_is_set_complete_with_another_objective(stage: Stage) -> None:
    wanted = Goal(f"{MET}\nsay Met.", PLENTY, GoalCompletion.SET_COMPLETE, "It was all done.")
    ended = await (await pursued(stage, "say Begun.", wanted)).ends()

    left = await goal_of(stage, ended)
    assert left is not None
    assert (left.objective, left.status) == ("It was all done.", "complete")


async def test_a_goal_is_left_as_it_is(stage: Stage) -> None:
    wanted = Goal(f"{MET}\nsay Met.", PLENTY, GoalCompletion.LEAVE)
    ended = await (await pursued(stage, "say Begun.", wanted)).ends()

    left = await goal_of(stage, ended)
    assert left is not None
    assert left.status == "complete"


async def test_what_codex_asks_in_a_turn_of_its_own_is_a_question_of_the_operation(
    stage: Stage,
) -> None:
    wanted = Goal(f"run! true # because I may\n{MET}\nsay Done.", PLENTY)
    task = await pursued(stage, "say Begun.", wanted)
    question = await task.asked()
    await task.answer(question, decision="accept")
    ended = await task.ends()

    assert report_of(ended) == "Done."
    assert question.asked.turn_id == ended.turn_id


async def test_interrupting_ends_the_turn_that_runs_and_codex_does_not_go_on(
    stage: Stage,
) -> None:
    wanted = Goal("hold gate\nsay Never.", PLENTY, GoalCompletion.LEAVE)
    task = await pursued(stage, "say Begun.", wanted)
    await stage.arrived("gate")
    await task.interrupt()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    left = await goal_of(stage, ended)
    assert left is not None
    assert left.status == "paused"
    stage.release("gate")
    follow_up = await stage.house.submit("say Something else.", thread_id=ended.thread_id)
    assert report_of(await follow_up.ends()) == "Something else."


async def test_the_worker_is_replaced_while_codex_goes_on_by_itself(stage: Stage) -> None:
    task = await pursued(stage, "say Begun.", Goal(f"hold gate\n{MET}\nsay Met.", PLENTY))
    await stage.arrived("gate")
    await task.until(lambda now: now.last_seq if now.goal and now.report is None else None)
    stage.house.worker.kill()
    worker = await stage.house.hire()
    await task.until(lambda now: now.generation == worker.generation or None)
    stage.release("gate")
    ended = await task.ends()

    assert report_of(ended) == "Met."
    assert await goal_of(stage, ended) is None
    assert await stage.model_turns(task) == 1


@pytest.mark.parametrize("mishap", [Mishap.CUT_BEFORE, Mishap.CUT_AFTER], ids=lambda m: m.name)
@pytest.mark.parametrize("method", ["thread/goal/set", "thread/goal/clear"])
async def test_the_line_drops_around_a_goal(stage: Stage, method: str, mishap: Mishap) -> None:
    stage.scissors.at_next(method, mishap)
    task = await pursued(stage, "hold gate\nsay Begun.", Goal(f"{MET}\nsay Met.", PLENTY))
    await task.until(lambda now: now.goal if now.goal and now.goal.status == "active" else None)
    stage.release("gate")
    ended = await task.ends()

    assert report_of(ended) == "Met."
    assert await goal_of(stage, ended) is None
    assert (await task.lines(Category.NOTICE)).count(
        f"Goal set, for {PLENTY} tokens: {MET}\nsay Met."
    ) == 1


async def test_the_app_server_is_killed_and_codex_does_not_go_on_behind_our_back(
    stage: Stage,
) -> None:
    wanted = Goal("hold gate\nsay Never.", PLENTY, GoalCompletion.LEAVE)
    task = await pursued(stage, "say Begun.", wanted)
    await stage.arrived("gate")
    await task.until(lambda now: now if now.goal and now.goal.status == "active" else None)
    await stage.kill_the_app_server()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    left = await goal_of(stage, ended)
    assert left is not None
    assert left.status == "paused"
    stage.release("gate")


async def test_a_goal_of_somebody_else_is_left_alone(stage: Stage) -> None:
    task = await stage.house.submit("say Planned.")
    thread_id = (await task.ends()).thread_id
    assert thread_id is not None
    async with stage.house.connect() as session:
        await session.set_goal(SetGoal(thread_id, "say Theirs.", PLENTY, "paused"))
    ended = await (
        await pursued(stage, "say Carried out.", Goal("say Ours.", PLENTY), thread_id)
    ).ends()

    assert report_of(ended) == "Carried out."
    assert ended.goal is not None
    assert ended.goal.status == "refused"
    left = await goal_of(stage, ended)
    assert left is not None
    assert (left.objective, left.status) == ("say Theirs.", "paused")
