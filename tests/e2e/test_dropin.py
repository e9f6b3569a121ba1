"""`codex` and `codex-reply` over MCP stdio on real Codex: calls repeated, workers killed."""

from collections.abc import AsyncIterator

import anyio
import pytest

from tests.e2e.stage import SOON_SECONDS, Client, Result, Stage, gone, stage_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with stage_of(CODEX_MCP_TOOLSETS="core,dropin") as stage:
        yield stage


class Call:
    """A call under way, and what it answered."""

    def __init__(self, client: Client, tool: str, **arguments: object) -> None:
        self._client = client
        self._call = (tool, arguments)
        self._answered = anyio.Event()
        self._answer: Result = {}

    async def run(self) -> None:
        tool, arguments = self._call
        self._answer = await self._client.call(tool, **arguments)
        self._answered.set()

    async def answer(self) -> Result:
        with anyio.fail_after(SOON_SECONDS):
            await self._answered.wait()
        return self._answer


async def arrived(stage: Stage, hold: str) -> None:
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived(hold)


async def test_codex_answers_with_its_report_and_the_same_call_meanwhile_is_the_same_turn(
    stage: Stage,
) -> None:
    async with stage.client() as one, stage.client() as two, anyio.create_task_group() as tasks:
        asked = {"prompt": "hold door\nsay The shop is open.", "cwd": str(stage.project)}
        calls = [Call(client, "codex", **asked) for client in (one, two)]
        for call in calls:
            tasks.start_soon(call.run)
        await arrived(stage, "door")
        stage.model.release("door")
        first, again = [await call.answer() for call in calls]
        assert first["content"] == again["content"] == "The shop is open."
        assert first["operationId"] == again["operationId"]
        assert sorted([first["idempotent"], again["idempotent"]]) == [False, True]

        more = {"prompt": "hold window\nsay It is closed.", "threadId": first["threadId"]}
        calls = [Call(client, "codex-reply", **more) for client in (one, two)]
        for call in calls:
            tasks.start_soon(call.run)
        await arrived(stage, "window")
        stage.model.release("window")
        reply, again = [await call.answer() for call in calls]
        assert reply["content"] == again["content"] == "It is closed."
        assert reply["operationId"] == again["operationId"]
    turns = await stage.turns(first["threadId"])
    assert [turn.id for turn in turns] == [reply["turnId"], first["turnId"]]
    assert len(stage.model.requests) == 2


async def test_a_killed_worker_costs_neither_call_its_answer_nor_a_second_turn(
    stage: Stage,
) -> None:
    async with stage.client() as client, anyio.create_task_group() as tasks:
        # No cwd: there is one project.
        call = Call(client, "codex", prompt="hold door\nsay The shop is open.")
        tasks.start_soon(call.run)
        await arrived(stage, "door")
        await _kill_worker(stage)
        stage.model.release("door")
        first = await call.answer()
        assert first["content"] == "The shop is open."

        call = Call(
            client,
            "codex-reply",
            prompt="hold window\nsay It is closed.",
            conversationId=first["threadId"],
        )
        tasks.start_soon(call.run)
        await arrived(stage, "window")
        await _kill_worker(stage)
        stage.model.release("window")
        reply = await call.answer()
        assert reply["content"] == "It is closed."
    assert len(await stage.turns(first["threadId"])) == 2
    assert len(stage.model.requests) == 2


async def test_a_client_that_left_finds_its_answer_by_the_same_call(stage: Stage) -> None:
    asked = {"prompt": "hold door\nsay The shop is open.", "cwd": str(stage.project)}
    async with stage.client() as first, anyio.create_task_group() as tasks:
        tasks.start_soon(Call(first, "codex", **asked).run)
        await arrived(stage, "door")
        tasks.cancel_scope.cancel()
    stage.model.release("door")
    async with stage.client() as second:
        answer = await second.call("codex", **asked)
        assert (answer["content"], answer["idempotent"]) == ("The shop is open.", True)
        assert len(await stage.turns(answer["threadId"])) == 1

        # It has its answer now. Asked once more, it is to be done once more.
        once_more = await second.call("codex", **asked)
    assert once_more["content"] == "The shop is open."
    assert once_more["threadId"] != answer["threadId"]


async def test_codex_shows_a_question_at_once_and_goes_on_by_the_same_call(stage: Stage) -> None:
    asked = {
        "prompt": "run! printf sold > ledger.txt # because it was sold\nsay Sold.",
        "cwd": str(stage.project),
        "sandbox": "workspace-write",
        "approval-policy": "on-request",
        "config": {"model_reasoning_effort": "low"},
    }
    async with stage.client() as client:
        waiting = await client.call("codex", **asked)
        assert waiting["nextRecommendedAction"] == "answer_pending_interaction"
        [question] = waiting["pendingInteractions"]
        assert "printf sold" in question["command"]
        await client.answer(question, decision="accept")
        done = await client.call("codex", **asked)
    assert (done["content"], done["operationId"]) == ("Sold.", waiting["operationId"])
    assert (stage.project / "ledger.txt").read_text() == "sold"


async def test_a_reply_keeps_the_sandbox_of_its_thread(stage: Stage) -> None:
    async with stage.client() as client:
        first = await client.call("codex", prompt="say one", sandbox="workspace-write")
        reply = await client.call("codex-reply", prompt="say two", threadId=first["threadId"])
        status = await client.status(reply["operationId"])
    assert status["effectivePolicy"]["sandbox"] == "workspace-write"


async def _kill_worker(stage: Stage) -> None:
    killed = stage.worker()
    stage.kill(killed)
    await gone(killed)
