"""One task over MCP stdio on real Codex: from submit to report, and what may happen on the way."""

import anyio
import pytest

from codex_control_plane_mcp.processes import is_alive
from codex_control_plane_mcp.work.evidence import messages_of
from tests.e2e.stage import SOON_SECONDS, Client, Stage, ToolError, gone, stage_of

pytestmark = [pytest.mark.real, pytest.mark.anyio]


async def test_a_task_is_acknowledged_before_codex_is_started_and_ends_with_codexs_own_report(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit("hold door\nsay The shop is open.", cwd=str(stage.project))
    assert receipt["status"] == "queued"
    assert receipt["threadId"] is None  # Codex has not been asked for anything.

    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    running = await client.until(receipt["operationId"], "running")
    assert running["evidence"]["appServer"] is not None
    stage.model.release("door")

    done = await client.finished(receipt["operationId"])
    assert done["status"] == "completed"
    assert done["nextRecommendedAction"] == "read_final_report"
    [turn] = await stage.turns(done["threadId"])
    assert turn.final_message is not None
    assert done["finalReport"]["text"] == turn.final_message.text == "The shop is open."
    assert done["finalReport"]["turnId"] == turn.id


async def test_the_acknowledgement_does_not_wait_for_codex_at_all() -> None:
    async with (
        stage_of(CODEX_BINARY_PATH="/nowhere/codex") as stage,
        stage.client() as client,
    ):
        receipt = await client.submit("say hello", cwd=str(stage.project))
        assert receipt["status"] == "queued"
        failed = await client.finished(receipt["operationId"])
    assert failed["status"] == "failed"
    assert failed["lastError"]["code"] == "CODEX_APP_SERVER_UNAVAILABLE"
    assert "/nowhere/codex" in failed["lastError"]["message"]


async def test_the_safe_defaults_arrive_at_codex(stage: Stage, client: Client) -> None:
    receipt = await client.submit("say hello", cwd=str(stage.project))
    done = await client.finished(receipt["operationId"])
    # What `thread/start` answered, not what we asked for.
    assert done["effectivePolicy"]["sandbox"] == "read-only"
    assert done["effectivePolicy"]["approvalPolicy"] == "on-request"


async def test_an_approval_survives_the_client_and_accepting_it_runs_the_command(
    stage: Stage,
) -> None:
    async with stage.client() as first:
        receipt = await first.submit(
            "run! printf sold > ledger.txt # because the sale must be written down\nsay Sold.",
            cwd=str(stage.project),
        )
        await first.asked(receipt["operationId"])

    async with stage.client() as second:
        question = await second.asked(receipt["operationId"])
        assert "printf sold > ledger.txt" in question["command"]
        assert question["cwd"] == str(stage.project)
        assert question["reason"] == "the sale must be written down"
        assert not (stage.project / "ledger.txt").exists()

        answered = await second.answer(question, decision="accept")
        assert answered["status"] == "answered"
        with pytest.raises(ToolError) as again:
            await second.answer(question, decision="decline")
        assert again.value.code == "CODEX_PENDING_INTERACTION_UNAVAILABLE"
        done = await second.finished(receipt["operationId"])

    assert done["finalReport"]["text"] == "Sold."
    assert (stage.project / "ledger.txt").read_text() == "sold"


async def test_declining_does_not_run_the_command_and_the_turn_goes_on(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit(
        "run! touch sold # because I want to\nsay Not sold.", cwd=str(stage.project)
    )
    question = await client.asked(receipt["operationId"])
    with pytest.raises(ToolError) as unknown:
        await client.answer(question, decision="perhaps")
    assert unknown.value.code == "INVALID_ARGUMENT"
    assert "accept" in unknown.value.message

    await client.answer(question, decision="decline")
    done = await client.finished(receipt["operationId"])
    assert done["finalReport"]["text"] == "Not sold."
    assert not (stage.project / "sold").exists()


async def test_a_question_survives_the_client_and_its_answer_reaches_the_model() -> None:
    # Codex asks outside plan mode only where this is switched on.
    async with stage_of(features=("default_mode_request_user_input",)) as stage:
        async with stage.client() as first:
            receipt = await first.submit(
                "ask Which colour? | Red: warm | Blue: cold\nsay Painted.", cwd=str(stage.project)
            )
            await first.until(receipt["operationId"], "waiting_for_user_input")

        async with stage.client() as second:
            question = await second.asked(receipt["operationId"])
            assert question["kind"] == "user_input"
            [asked] = question["questions"]
            assert asked["question"] == "Which colour?"
            assert [option["label"] for option in asked["options"]] == ["Red", "Blue"]
            with pytest.raises(ToolError) as unknown:
                await second.answer(question, answers={"no such question": "Blue"})
            assert unknown.value.code == "INVALID_ARGUMENT"

            await second.answer(question, answers={asked["id"]: "Blue"})
            done = await second.finished(receipt["operationId"])
        assert done["finalReport"]["text"] == "Painted."
        assert any("Blue" in output for output in stage.model.requests[-1].tool_outputs)


async def test_interrupting_an_operation_ends_it(stage: Stage, client: Client) -> None:
    receipt = await client.submit("hang", cwd=str(stage.project))
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("hang")
    ended = await client.call("codex_interrupt_turn", operation_id=receipt["operationId"])
    assert ended["status"] == "interrupted"
    again = await client.call("codex_interrupt_turn", operation_id=receipt["operationId"])
    assert again["changed"] is False


async def test_interrupting_a_turn_of_a_thread_ends_its_operation(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit("hang", cwd=str(stage.project))
    running = await client.until(receipt["operationId"], "running")
    ended = await client.call(
        "codex_interrupt_turn", thread_id=running["threadId"], turn_id=running["turnId"]
    )
    assert ended["operationId"] == receipt["operationId"]
    assert ended["status"] == "interrupted"


async def test_a_second_message_goes_to_the_same_thread(stage: Stage, client: Client) -> None:
    first = await client.submit("say one", cwd=str(stage.project))
    first_done = await client.finished(first["operationId"])
    second = await client.submit(
        "say two", operation_type="send_message", chat_id=first_done["threadId"]
    )
    second_done = await client.finished(second["operationId"])
    assert second_done["threadId"] == first_done["threadId"]
    assert second_done["finalReport"]["text"] == "two"
    turns = await stage.turns(first_done["threadId"])
    assert [turn.id for turn in turns] == [second_done["turnId"], first_done["turnId"]]


async def test_plan_mode_reports_the_plan_item_and_the_next_message_leaves_plan_mode(
    stage: Stage, client: Client
) -> None:
    planned = await client.submit(
        "plan # Sell\\n\\n1. Open the door",
        cwd=str(stage.project),
        collaboration_mode="plan",
    )
    plan = await client.finished(planned["operationId"])
    assert plan["finalReport"]["text"].strip() == "# Sell\n\n1. Open the door"
    done = await client.submit(
        "say Sold.", operation_type="send_message", thread_id=plan["threadId"]
    )
    report = (await client.finished(done["operationId"]))["finalReport"]
    assert report["text"] == "Sold."


async def test_steering_adds_words_to_the_running_turn_once(stage: Stage, client: Client) -> None:
    task = await client.submit("hold door\nsay unsteered", cwd=str(stage.project))
    running = await client.until(task["operationId"], "running")
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    steering = {
        "operation_type": "steer_turn",
        "thread_id": running["threadId"],
        "expected_turn_id": running["turnId"],
        "client_request_id": "steer-1",
    }
    steer = await client.submit("say steered", **steering)
    assert (await client.finished(steer["operationId"]))["status"] == "completed"
    again = await client.submit("say steered", **steering)
    assert again["idempotent"] is True
    stage.model.release("door")
    done = await client.finished(task["operationId"])
    assert done["finalReport"]["text"] == "steered"
    [turn] = await stage.turns(done["threadId"])
    assert [message.text for message in messages_of(turn)] == [
        "hold door\nsay unsteered",
        "say steered",
    ]

    late = await client.submit("say too late", **(steering | {"client_request_id": "steer-2"}))
    failed = await client.finished(late["operationId"])
    assert failed["lastError"]["code"] == "CODEX_TURN_NOT_FOUND"


async def test_the_same_request_again_is_the_same_operation_and_one_turn(
    stage: Stage, client: Client
) -> None:
    task = {"cwd": str(stage.project), "client_request_id": "sale-1"}
    first = await client.submit("hold door\nsay once", **task)
    again = await client.submit("hold door\nsay once", **task)
    assert again["operationId"] == first["operationId"]
    assert again["idempotent"] is True
    with pytest.raises(ToolError) as other:
        await client.submit("say something else", **task)
    assert other.value.code == "CODEX_IDEMPOTENCY_MISMATCH"

    stage.model.release("door")
    done = await client.finished(first["operationId"])
    late = await client.submit("hold door\nsay once", **task)
    assert late["operationId"] == first["operationId"]
    assert late["status"] == "completed"
    assert len(await stage.turns(done["threadId"])) == 1
    assert len(stage.model.requests) == 1


async def test_the_same_prompt_while_active_is_refused_and_a_similar_one_is_not(
    stage: Stage, client: Client
) -> None:
    prompt = "Look at PR #41\nhold door\nsay looked"
    first = await client.submit(prompt, cwd=str(stage.project))
    with pytest.raises(ToolError) as duplicate:
        await client.submit(prompt.replace("Look at", "look  AT"), cwd=str(stage.project))
    assert duplicate.value.code == "CODEX_DUPLICATE_PROMPT_ACTIVE"
    assert duplicate.value.details["existingOperationId"] == first["operationId"]

    similar = await client.submit(prompt.replace("#41", "#42"), cwd=str(stage.project))
    stage.model.release("door")
    for receipt in (first, similar):
        assert (await client.finished(receipt["operationId"]))["status"] == "completed"
    free_again = await client.submit(prompt, cwd=str(stage.project))
    assert (await client.finished(free_again["operationId"]))["status"] == "completed"


async def test_a_turn_goes_on_without_its_client_and_a_new_client_reads_the_report(
    stage: Stage,
) -> None:
    async with stage.client() as first:
        receipt = await first.submit("hold door\nsay done alone", cwd=str(stage.project))
        with anyio.fail_after(SOON_SECONDS):
            await stage.model.arrived("door")
    stage.model.release("door")
    async with stage.client() as second:
        done = await second.finished(receipt["operationId"])
    assert done["finalReport"]["text"] == "done alone"


async def test_two_clients_at_once_share_one_worker_and_one_app_server(stage: Stage) -> None:
    async with stage.client() as first, stage.client() as second:
        one = await first.submit("hold door\nsay one", cwd=str(stage.project))
        two = await second.submit("hold door\nsay two", cwd=str(stage.project))
        with anyio.fail_after(SOON_SECONDS):
            await stage.model.arrived("door", times=2)
        evidence = [
            (await client.status(receipt["operationId"]))["evidence"]["appServer"]
            for client in (first, second)
            for receipt in (one, two)
        ]
        assert len(set(evidence)) == 1
        health = [await client.call("codex_health_summary") for client in (first, second)]
        assert health[0]["worker"]["pid"] == health[1]["worker"]["pid"]
        assert health[0]["activeWork"]["activeTurnCount"] == 2
        stage.model.release("door")
        # Each reads the other's report.
        assert (await first.finished(two["operationId"]))["finalReport"]["text"] == "two"
        assert (await second.finished(one["operationId"]))["finalReport"]["text"] == "one"


async def test_waiting_returns_at_the_change_with_the_operations_that_changed(
    stage: Stage, client: Client
) -> None:
    slow = await client.submit("hold slow\nsay slow", cwd=str(stage.project))
    fast = await client.submit("hold fast\nsay fast", cwd=str(stage.project))
    ids = [slow["operationId"], fast["operationId"]]
    for receipt in (slow, fast):
        await client.until(receipt["operationId"], "running")
    before = await client.call("codex_wait", operation_ids=ids, wait_seconds=0)
    stage.model.release("fast")
    changed = await client.call(
        "codex_wait", operation_ids=ids, wait_seconds=45, cursor=before["cursor"]
    )
    assert [one["operationId"] for one in changed["operations"]] == [fast["operationId"]]
    assert changed["operations"][0]["status"] == "completed"
    stage.model.release("slow")
    await client.finished(slow["operationId"])


async def test_a_killed_worker_is_replaced_and_its_turn_is_taken_up(
    stage: Stage, client: Client
) -> None:
    receipt = await client.submit(
        "run! touch sold # because I want to\nsay Sold after all.", cwd=str(stage.project)
    )
    before = await client.asked(receipt["operationId"])
    app_server = stage.app_server()
    killed = stage.worker()
    stage.kill(killed)
    await gone(killed)

    # The same client, the same pipe: it starts the next worker.
    after = await client.asked(receipt["operationId"])
    assert after["interactionId"] == before["interactionId"]
    assert stage.app_server() == app_server
    await client.answer(after, decision="accept")
    done = await client.finished(receipt["operationId"])
    assert done["finalReport"]["text"] == "Sold after all."
    assert len(await stage.turns(done["threadId"])) == 1


async def test_an_idle_worker_leaves_and_takes_its_app_server_along() -> None:
    async with stage_of(CODEX_MCP_IDLE_EXIT_SECONDS="0.2") as stage:
        async with stage.client() as client:
            receipt = await client.submit("say hello", cwd=str(stage.project))
            await client.finished(receipt["operationId"])
            worker, app_server = stage.worker(), stage.app_server()
            assert is_alive(worker)
        await gone(worker)
        await gone(app_server)
