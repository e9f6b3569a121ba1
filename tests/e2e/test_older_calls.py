"""The older calls that start a turn, over MCP stdio on real Codex. Each is made again, and meets a
worker that is killed."""

import pytest

from tests.e2e.stage import Stage, ToolError, gone, stage_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def test_a_chat_is_answered_once_its_turn_runs_and_made_again_it_is_the_same(
    stage: Stage,
) -> None:
    started = {
        "project_id": "shop",
        "message": "hold door\nsay The shop is open.",
        "client_request_id": "open",
    }
    async with stage.client() as client:
        chat = await client.call("codex_start_chat", **started)
        assert chat["status"] == "running"
        [turn] = await stage.turns(chat["threadId"])
        assert turn.id == chat["turnId"]
        with pytest.raises(ToolError) as unnamed:
            await client.call("codex_start_chat", **(started | {"client_request_id": None}))
        assert unnamed.value.details["existingOperationId"] == chat["operationId"]

        await _kill_worker(stage)
        again = await client.call("codex_start_chat", **started)
        assert (again["operationId"], again["idempotent"]) == (chat["operationId"], True)
        assert again["turnId"] == chat["turnId"]
        stage.model.release("door")
        done = await client.finished(chat["operationId"])
        assert done["finalReport"]["text"] == "The shop is open."

        sent = {
            "chat_id": chat["threadId"],
            "message": "hold window\nsay It is closed.",
            "client_request_id": "close",
        }
        message = await client.call("codex_send_message", **sent)
        assert (message["status"], message["threadId"]) == ("running", chat["threadId"])
        await _kill_worker(stage)
        again = await client.call("codex_send_message", **sent)
        assert (again["operationId"], again["idempotent"]) == (message["operationId"], True)
        stage.model.release("window")
        done = await client.finished(message["operationId"])
        assert done["finalReport"]["text"] == "It is closed."
    turns = await stage.turns(chat["threadId"])
    assert [turn.id for turn in turns] == [message["turnId"], chat["turnId"]]
    assert len(stage.model.requests) == 2


async def test_a_chat_that_cannot_be_started_says_so() -> None:
    async with (
        stage_of(CODEX_BINARY_PATH="/nowhere/codex") as stage,
        stage.client() as client,
    ):
        failed = await client.call("codex_start_chat", project_id="shop", message="say hello")
    assert failed["status"] == "failed"
    assert failed["lastError"]["code"] == "CODEX_APP_SERVER_UNAVAILABLE"


async def _kill_worker(stage: Stage) -> None:
    killed = stage.worker()
    stage.kill(killed)
    await gone(killed)
