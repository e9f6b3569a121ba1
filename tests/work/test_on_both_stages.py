"""The same scenarios over the fake Codex and over the real binary."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from tests.fakes.wire import Mishap
from tests.work.stages import Stage, fake_stage, real_stage


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


async def test_there_and_back(stage: Stage) -> None:
    task = await stage.house.submit("stream 40 words\nsay All done.")
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "All done."
    assert ended.report.turn_id == ended.turn_id
    assert ended.policy is not None
    assert (ended.policy.sandbox, ended.policy.approval_policy) == ("read-only", "on-request")
    words = " ".join(f"word{number}" for number in range(1, 41))
    assert await task.said() == f"{words}All done."
    assert await stage.model_turns(task) == 1


@pytest.mark.parametrize(
    ("decision", "line"),
    [("accept", "Exit code 0"), ("decline", "The command was declined.")],
    ids=["accept", "decline"],
)
async def test_an_approval(stage: Stage, decision: str, line: str) -> None:
    task = await stage.house.submit("run! printf hi # because it is friendly\nsay Done.")
    question = await task.asked()
    waiting = await task.now()
    receipt = await task.answer(question, decision=decision)
    ended = await task.ends()

    assert waiting.status is Status.WAITING_FOR_APPROVAL
    assert "printf hi" in str(question.asked.command)
    assert question.asked.reason == "it is friendly"
    assert receipt.delivered
    assert ended.status is Status.COMPLETED
    assert (await task.question(question)).status is InteractionStatus.ANSWERED
    assert (await task.lines(Category.COMMAND))[-1].startswith(line)
    assert await stage.model_turns(task) == 1


async def test_a_question(stage: Stage) -> None:
    task = await stage.house.submit("ask Which colour? | red: warm | blue: cold\nsay Thank you.")
    question = await task.asked()
    waiting = await task.now()
    (asked,) = question.asked.questions
    await task.answer(question, answers={asked.id: "blue"})
    ended = await task.ends()

    assert waiting.status is Status.WAITING_FOR_USER_INPUT
    assert asked.text == "Which colour?"
    assert ended.status is Status.COMPLETED
    assert (await task.question(question)).status is InteractionStatus.ANSWERED


async def test_an_interrupt(stage: Stage) -> None:
    task = await stage.house.submit("hang")
    await stage.arrived("hang")
    await task.becomes(Status.RUNNING)
    await task.interrupt()

    assert (await task.ends()).status is Status.INTERRUPTED
    assert await stage.model_turns(task) == 1


async def test_an_interrupt_while_an_approval_waits(stage: Stage) -> None:
    task = await stage.house.submit("run! printf hi # because\nsay Done.")
    question = await task.asked()
    await task.interrupt()

    assert (await task.ends()).status is Status.INTERRUPTED
    assert (await task.question(question)).status is InteractionStatus.WITHDRAWN


async def test_a_failing_turn(stage: Stage) -> None:
    task = await stage.house.submit("fail 429 usage_limit_reached You've hit your usage limit.")
    ended = await task.ends()

    assert ended.status is Status.FAILED
    assert ended.trouble is not None
    assert ended.trouble.code == "usageLimitExceeded"


async def test_the_line_drops_in_mid_turn(stage: Stage) -> None:
    task = await stage.house.submit("stream 5 words\nhold gate\nsay I went on.")
    await stage.arrived("gate")
    await task.becomes(Status.RUNNING)
    await stage.scissors.cut()
    await task.until(lambda now: now.last_seq if now.status is Status.RUNNING else None)
    stage.release("gate")
    ended = await task.ends()

    assert ended.report is not None
    assert ended.report.text == "I went on."
    assert await task.said() == "word1 word2 word3 word4 word5I went on."
    assert await stage.model_turns(task) == 1


async def test_the_worker_is_replaced_in_mid_turn(stage: Stage) -> None:
    task = await stage.house.submit("stream 5 words\nhold gate\nsay I went on.")
    await stage.arrived("gate")
    await task.becomes(Status.RUNNING)
    stage.house.worker.kill()
    worker = await stage.house.hire()
    await task.until(lambda now: now.generation == worker.generation or None)
    stage.release("gate")
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert await task.said() == "word1 word2 word3 word4 word5I went on."
    assert await stage.model_turns(task) == 1


async def test_an_approval_outlives_line_and_worker(stage: Stage) -> None:
    task = await stage.house.submit("run! printf hi # because\nsay Done.")
    question = await task.asked()
    stage.house.worker.kill()
    await stage.house.hire()
    receipt = await task.answer(question, decision="accept")
    ended = await task.ends()

    assert receipt.delivered
    assert ended.status is Status.COMPLETED
    assert (await task.question(question)).answered_by == "anna"
    assert (await task.lines(Category.COMMAND))[-1].startswith("Exit code 0")


@pytest.mark.parametrize("mishap", [Mishap.CUT_BEFORE, Mishap.CUT_AFTER], ids=lambda m: m.name)
@pytest.mark.parametrize("on_an_old_thread", [False, True], ids=["new thread", "old thread"])
async def test_the_line_drops_around_turn_start(
    stage: Stage, mishap: Mishap, on_an_old_thread: bool
) -> None:
    """F1, F20: the client hangs up within 5 ms of `turn/start`."""
    thread_id = None
    if on_an_old_thread:
        first = await stage.house.submit("say First.")
        thread_id = (await first.ends()).thread_id
    stage.scissors.at_next("turn/start", mishap)
    task = await stage.house.submit("say Once only.", thread_id=thread_id)
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "Once only."
    assert await stage.model_turns(task) == 1


async def test_a_turn_that_ended_before_it_was_found(stage: Stage) -> None:
    """The answer to `turn/start` never comes, and the turn is over when the thread is read."""
    stage.scissors.at_next("turn/start", Mishap.LOSE_ANSWER)
    task = await stage.house.submit("say Quick.")
    await stage.scissors.struck.wait()
    await stage.scissors.cut()  # In real time nobody waits 30 seconds for the answer.
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.report is not None
    assert ended.report.text == "Quick."
    assert await stage.model_turns(task) == 1


async def test_the_app_server_is_killed_in_mid_turn(stage: Stage) -> None:
    task = await stage.house.submit("stream 5 words\nhang")
    await stage.arrived("hang")
    await task.becomes(Status.RUNNING)
    await stage.kill_the_app_server()
    ended = await task.ends()

    assert ended.status is Status.INTERRUPTED
    assert ended.trouble is not None
    assert ended.trouble.code == "CODEX_APP_SERVER_UNAVAILABLE"
    assert await stage.model_turns(task) == 1


async def test_after_the_app_server_was_killed_its_thread_goes_on(stage: Stage) -> None:
    first = await stage.house.submit("hang")
    await stage.arrived("hang")
    thread_id = (await first.becomes(Status.RUNNING)).thread_id
    await stage.kill_the_app_server()
    await first.ends()
    task = await stage.house.submit("say Here again.", thread_id=thread_id)
    ended = await task.ends()

    assert ended.status is Status.COMPLETED
    assert ended.thread_id == thread_id


async def test_one_more_message_in_a_thread(stage: Stage) -> None:
    first = await stage.house.submit("say One.")
    thread_id = (await first.ends()).thread_id
    second = await stage.house.submit("say Two.", thread_id=thread_id)
    ended = await second.ends()

    assert ended.thread_id == thread_id
    assert ended.report is not None
    assert ended.report.text == "Two."
    assert await stage.model_turns(second) == 1
