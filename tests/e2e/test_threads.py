"""Threads over MCP stdio on real Codex: forked, steered, put away, brought back, compacted."""

import anyio
import pytest

from tests.e2e.stage import SOON_SECONDS, Client, Stage, ToolError, gone

pytestmark = [pytest.mark.real, pytest.mark.anyio]

NO_THREAD = "01a20511-94b0-7651-9677-a1c470d6832d"


async def a_thread(stage: Stage, client: Client) -> str:
    receipt = await client.submit("say The shop is open.", cwd=str(stage.project))
    thread_id = (await client.finished(receipt["operationId"]))["threadId"]
    assert isinstance(thread_id, str)
    return thread_id


async def test_a_fork_goes_its_own_way_and_the_same_call_again_is_the_same_fork(
    stage: Stage, client: Client
) -> None:
    source = await a_thread(stage, client)
    wish = {
        "operation_type": "fork_thread",
        "source_thread_id": source,
        "client_request_id": "fork-1",
        "title": "The other way",
    }
    receipt = await client.submit("say On my own.", **wish)
    again = await client.submit("say On my own.", **wish)
    done = await client.finished(receipt["operationId"])

    assert again["operationId"] == receipt["operationId"]
    assert again["idempotent"] is True
    assert done["finalReport"]["text"] == "On my own."
    assert done["threadId"] != source
    assert done["effectivePolicy"]["sandbox"] == "read-only"
    assert len(await stage.turns(done["threadId"])) == 2
    assert len(await stage.turns(source)) == 1


async def test_a_fork_without_words_is_a_thread_to_go_on_in(stage: Stage, client: Client) -> None:
    source = await a_thread(stage, client)
    receipt = await client.call(
        "codex_submit_task", operation_type="fork_thread", source_thread_id=source
    )
    fork = await client.finished(receipt["operationId"])
    assert fork["status"] == "completed"
    assert fork["turnId"] is None

    receipt = await client.submit(
        "say Later.", operation_type="send_message", thread_id=fork["threadId"]
    )
    assert (await client.finished(receipt["operationId"]))["finalReport"]["text"] == "Later."


async def test_the_worker_is_killed_while_a_fork_works(stage: Stage, client: Client) -> None:
    source = await a_thread(stage, client)
    receipt = await client.submit(
        "hold door\nsay Still here.", operation_type="fork_thread", source_thread_id=source
    )
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    await client.until(receipt["operationId"], "running")
    stage.kill(stage.worker())
    stage.model.release("door")
    done = await client.finished(receipt["operationId"])

    assert done["finalReport"]["text"] == "Still here."
    asked = [one for one in stage.model.requests if "Still here." in one.user_message]
    assert len(asked) == 1


async def test_words_are_added_to_a_running_turn_once(stage: Stage, client: Client) -> None:
    receipt = await client.submit("hold door\nsay Done.", cwd=str(stage.project))
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    running = await client.until(receipt["operationId"], "running")
    wish = {
        "operation_type": "steer_turn",
        "thread_id": running["threadId"],
        "expected_turn_id": running["turnId"],
        "client_request_id": "steer-1",
    }
    steering = await client.submit("say And closed.", **wish)
    again = await client.submit("say And closed.", **wish)
    steered = await client.finished(steering["operationId"])
    stage.model.release("door")
    await client.finished(receipt["operationId"])

    assert again["operationId"] == steering["operationId"]
    assert steered["status"] == "completed"
    [turn] = await stage.turns(running["threadId"])
    said = [item for item in turn.items if getattr(item, "text", None) == "say And closed."]
    assert len(said) == 1


async def test_the_worker_is_killed_while_it_steers_files_and_compacts(
    stage: Stage, client: Client
) -> None:
    """Wherever it was: what was asked for is done once, and the same call again is that."""
    receipt = await client.submit("hold door\nsay Done.", cwd=str(stage.project))
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    running = await client.until(receipt["operationId"], "running")
    thread_id = running["threadId"]
    wish = {
        "operation_type": "steer_turn",
        "thread_id": thread_id,
        "expected_turn_id": running["turnId"],
        "client_request_id": "steer-1",
    }
    steering = await client.submit("say And closed.", **wish)
    await replaced(stage)
    again = await client.submit("say And closed.", **wish)
    assert again["operationId"] == steering["operationId"]
    assert (await client.finished(steering["operationId"]))["status"] == "completed"
    stage.model.release("door")
    await client.finished(receipt["operationId"])
    [turn] = await stage.turns(thread_id)
    said = [item for item in turn.items if getattr(item, "text", None) == "say And closed."]
    assert len(said) == 1

    action = await client.call("codex_start_thread_compaction", thread_id=thread_id)
    await replaced(stage)
    await client.finished(action["actionId"])
    assert len(await stage.turns(thread_id)) == 2

    await client.call("codex_archive_thread", thread_id=thread_id)
    await replaced(stage)
    again = await client.call("codex_archive_thread", thread_id=thread_id)
    assert again["result"] == "The thread was archived already."


async def replaced(stage: Stage) -> None:
    """The worker is killed; the next call finds another one."""
    worker = stage.worker()
    stage.kill(worker)
    await gone(worker)


async def test_a_thread_is_put_away_and_brought_back(stage: Stage, client: Client) -> None:
    thread_id = await a_thread(stage, client)
    archived = await client.call("codex_archive_thread", thread_id=thread_id)
    assert archived["status"] == "completed"
    again = await client.call("codex_archive_thread", thread_id=thread_id)
    assert again["result"] == "The thread was archived already."

    refused = await client.submit("say Hi.", operation_type="send_message", thread_id=thread_id)
    failed = await client.finished(refused["operationId"])
    assert failed["lastError"]["code"] == "CODEX_SEND_FAILED"
    assert "codex_unarchive_thread" in failed["lastError"]["message"]

    back = await client.call("codex_unarchive_thread", thread_id=thread_id)
    assert back["status"] == "completed"
    receipt = await client.submit("say Back.", operation_type="send_message", thread_id=thread_id)
    assert (await client.finished(receipt["operationId"]))["finalReport"]["text"] == "Back."


async def test_a_compaction_is_polled_to_its_end(stage: Stage, client: Client) -> None:
    thread_id = await a_thread(stage, client)
    action = await client.call("codex_start_thread_compaction", thread_id=thread_id)
    assert action["actionId"] == action["operationId"]
    with anyio.fail_after(SOON_SECONDS):
        while action["pollRecommended"]:
            action = await client.call(
                "codex_get_thread_compaction_status", action_id=action["actionId"], wait_seconds=10
            )

    assert action["status"] == "completed"
    assert action["result"].startswith("Compacted")


@pytest.mark.parametrize("tool", ["codex_archive_thread", "codex_start_thread_compaction"])
async def test_a_thread_that_nobody_knows_is_said_to_be_none(client: Client, tool: str) -> None:
    with pytest.raises(ToolError) as refused:
        await client.call(tool, thread_id=NO_THREAD)
    assert refused.value.code == "CODEX_THREAD_NOT_FOUND"


async def test_what_is_no_compaction_has_no_such_status(stage: Stage, client: Client) -> None:
    receipt = await client.submit("say Hello.", cwd=str(stage.project))
    await client.finished(receipt["operationId"])
    with pytest.raises(ToolError) as refused:
        await client.call("codex_get_thread_compaction_status", action_id=receipt["operationId"])
    assert refused.value.code == "CODEX_OPERATION_NOT_FOUND"
