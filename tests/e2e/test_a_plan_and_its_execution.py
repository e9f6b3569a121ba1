"""Plans and reviews over MCP stdio on real Codex: from the wish to the report, decided by a person.

The first test reads as a client would work; those after it look at one thing each.
"""

import anyio
import pytest

from codex_control_plane_mcp.codex.words.verbs import CollaborationMode, StartTurn, Text
from codex_control_plane_mcp.model.ids import ThreadId
from tests.e2e.stage import SOON_SECONDS, Client, Result, Stage, ToolError, gone

pytestmark = [pytest.mark.real, pytest.mark.anyio]

PLANNING = (
    "Mend the till.\nask Which oil? | Linseed: slow | Mineral: fast\nplan # Mend\\n\\n1. Oil it"
)
EXECUTION = (
    'run! printf oiled > till.txt # because the till is outside the sandbox\nsay {"rings": true}'
)
RINGING = {
    "type": "object",
    "properties": {"rings": {"type": "boolean"}},
    "required": ["rings"],
    "additionalProperties": False,
}


async def test_a_plan_is_asked_about_revised_approved_and_carried_out_once(
    stage: Stage, client: Client
) -> None:
    # A plan is wanted. The receipt comes at once; nothing is changed before somebody decides.
    wish = {
        "message": PLANNING,
        "cwd": str(stage.project),
        "sandbox": "workspace-write",
        "client_request_id": "till-1",
    }
    begun = await client.call("codex_start_plan_workflow", **wish)
    workflow = begun["workflowId"]
    assert (begun["phase"], begun["nextRecommendedAction"]) == ("planning", "wait_plan")

    # Codex asks while it plans, and a person answers.
    asking = await client.phase(workflow, "waiting_for_user_input")
    [question] = asking["pendingInteractions"]
    [asked] = question["questions"]
    await client.answer(question, answers={asked["id"]: "Mineral"})

    # The plan is there, to be read and judged as a whole.
    ready = await client.phase(workflow, "plan_ready")
    first = ready["latestPlan"]
    assert first["markdown"].strip() == "# Mend\n\n1. Oil it"
    assert (first["valid"], ready["nextRecommendedAction"]) == (True, "execute_plan")

    # It is not what was wanted: made anew, it has another hash, and the old one approves nothing.
    revision = {
        "operation_type": "send_message",
        "workflow_id": workflow,
        "message": "Wax, please.\nplan # Mend\\n\\n1. Wax it",
        "client_request_id": "till-1-wax",
    }
    await client.call("codex_submit_task", **revision)
    ready = await client.phase(workflow, "plan_ready")
    second = ready["latestPlan"]
    assert second["markdown"].strip() == "# Mend\n\n1. Wax it"
    with pytest.raises(ToolError) as stale:
        await client.call("codex_approve_plan", workflow_id=workflow, plan_hash=first["planHash"])
    assert stale.value.details["planHash"] == second["planHash"]

    # Approved by its hash, it is carried out; Codex asks before it leaves the sandbox, and reports
    # in the form that was asked for.
    approval = {
        "workflow_id": workflow,
        "plan_hash": second["planHash"],
        "message": EXECUTION,
        "output_schema": RINGING,
        "client_request_id": "till-1-yes",
    }
    approved = await client.call("codex_approve_plan", **approval)
    execution = approved["executionOperationId"]
    asking = await client.phase(workflow, "waiting_for_approval")
    [question] = asking["pendingInteractions"]
    assert "printf oiled" in question["command"]

    # The worker is killed in the middle. The same calls again start nothing anew.
    worker = stage.worker()
    stage.kill(worker)
    await gone(worker)
    again = await client.call("codex_start_plan_workflow", **wish)
    assert (again["workflowId"], again["idempotent"]) == (workflow, True)
    again = await client.call("codex_submit_task", **revision)
    assert again["idempotent"] is True
    again = await client.call("codex_approve_plan", **approval)
    assert (again["executionOperationId"], again["idempotent"]) == (execution, True)

    # The question is still there; yes lets it end.
    asking = await client.phase(workflow, "waiting_for_approval")
    assert asking["pendingInteractions"][0]["interactionId"] == question["interactionId"]
    await client.answer(question, decision="accept")
    done = await client.phase(workflow, "completed")
    assert done["finalReport"]["structured"] == {"rings": True}
    assert (stage.project / "till.txt").read_text() == "oiled"
    assert (await client.call("codex_approve_plan", **approval))["idempotent"] is True

    # Codex's own record: two turns that planned, one that carried out what was approved.
    turns = await stage.turns(done["threadId"])
    assert [turn.id for turn in turns] == [
        done["executionTurnId"],
        done["latestPlan"]["turnId"],
        first["turnId"],
    ]
    told = [request.user_message for request in stage.model.requests]
    assert told[-1].endswith("The approved plan:\n\n# Mend\n\n1. Wax it\n")


async def test_the_worker_is_killed_while_codex_plans(stage: Stage, client: Client) -> None:
    begun = await client.call(
        "codex_start_plan_workflow",
        message="hold door\nplan 1. Oil it",
        cwd=str(stage.project),
    )
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    worker = stage.worker()
    stage.kill(worker)
    await gone(worker)
    stage.model.release("door")
    ready = await client.phase(begun["workflowId"], "plan_ready")
    assert ready["latestPlan"]["markdown"].strip() == "1. Oil it"
    assert len(await stage.turns(ready["threadId"])) == 1


async def test_planning_changes_nothing(stage: Stage, client: Client) -> None:
    begun = await client.call(
        "codex_start_plan_workflow",
        message="run touch sold\nplan 1. Sell",
        cwd=str(stage.project),
        sandbox="workspace-write",
    )
    ready = await client.phase(begun["workflowId"], "plan_ready")
    assert not (stage.project / "sold").exists()
    planning = await client.status(ready["planOperationId"])
    assert planning["effectivePolicy"]["sandbox"] == "read-only"

    await client.call(
        "codex_approve_plan", workflow_id=begun["workflowId"], message="run touch sold\nsay Sold."
    )
    done = await client.phase(begun["workflowId"], "completed")
    assert done["finalReport"]["text"] == "Sold."
    assert (stage.project / "sold").exists()


async def test_an_answer_that_is_no_plan_is_shown_and_not_approved(
    stage: Stage, client: Client
) -> None:
    begun = await client.call(
        "codex_start_plan_workflow",
        message="say What for? Steps: 1. none",
        cwd=str(stage.project),
    )
    shown = await client.phase(begun["workflowId"], "plan_needs_review")
    assert shown["finalReport"]["text"] == "What for? Steps: 1. none"
    assert shown["latestPlan"] is None
    with pytest.raises(ToolError) as refused:
        await client.call("codex_approve_plan", workflow_id=begun["workflowId"])
    assert refused.value.code == "INVALID_ARGUMENT"
    assert refused.value.details["phase"] == "plan_needs_review"

    await client.submit(
        "For money.\nplan 1. Sell",
        operation_type="send_message",
        workflow_id=begun["workflowId"],
    )
    assert (await client.phase(begun["workflowId"], "plan_ready"))["latestPlan"]["valid"]


async def test_the_running_turn_is_told_and_its_plan_is_the_one(
    stage: Stage, client: Client
) -> None:
    begun = await client.call(
        "codex_start_plan_workflow",
        message="hold door\nplan 1. Oil it",
        cwd=str(stage.project),
    )
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("door")
    await client.until(begun["planOperationId"], "running")
    told = await client.submit(
        "plan 1. Wax it", operation_type="steer_turn", workflow_id=begun["workflowId"]
    )
    await client.finished(told["operationId"])
    stage.model.release("door")
    ready = await client.phase(begun["workflowId"], "plan_ready")
    assert ready["latestPlan"]["markdown"].strip() == "1. Wax it"


async def test_a_plan_that_a_person_had_made_in_codex_is_adopted(
    stage: Stage, client: Client
) -> None:
    begun = await client.call(
        "codex_start_plan_workflow", message="plan 1. Oil it", cwd=str(stage.project)
    )
    ready = await client.phase(begun["workflowId"], "plan_ready")
    thread_id = ThreadId(ready["threadId"])
    # Codex counts in seconds: the second plan is not of the same one.
    await anyio.sleep(1.1)
    async with stage.codex() as codex:
        mode = CollaborationMode("plan", "scripted", None)
        prompt = (Text("plan 1. Buy a new one"),)
        await codex.start_turn(StartTurn(thread_id, prompt, collaboration_mode=mode))

    found = await client.phase(begun["workflowId"], "plan_candidate_found")
    candidate = found["candidatePlan"]
    assert candidate["markdown"].strip() == "1. Buy a new one"
    adopted = await client.call(
        "codex_adopt_workflow_plan",
        workflow_id=begun["workflowId"],
        candidate_turn_id=candidate["turnId"],
        candidate_plan_hash=candidate["planHash"],
        adoption_note="Anna planned it in Codex itself.",
    )
    assert adopted["phase"] == "plan_ready"
    await client.call("codex_approve_plan", workflow_id=begun["workflowId"], message="say Bought.")
    done = await client.phase(begun["workflowId"], "completed")
    assert done["latestPlan"]["markdown"].strip() == "1. Buy a new one"


async def test_a_goal_is_pursued_after_the_plan_and_not_before(
    stage: Stage, client: Client
) -> None:
    objective = 'call update_goal {"status": "complete"}\nsay Every till rings.'
    begun = await client.call(
        "codex_start_plan_workflow",
        message="plan 1. Oil it",
        cwd=str(stage.project),
        goal=objective,
        goal_token_budget=100_000,
    )
    ready = await client.phase(begun["workflowId"], "plan_ready")
    assert ready["threadGoal"]["status"] == "agreed"
    async with stage.codex() as codex:
        assert await codex.get_goal(ThreadId(ready["threadId"])) is None

    await client.call("codex_approve_plan", workflow_id=begun["workflowId"], message="say Begun.")
    done = await client.phase(begun["workflowId"], "completed")
    assert done["finalReport"]["text"] == "Every till rings."
    assert done["threadGoal"]["objective"] == objective
    assert done["threadGoal"]["status"] == "complete"
    async with stage.codex() as codex:
        assert await codex.get_goal(ThreadId(done["threadId"])) is None
    [newest, *_] = await stage.turns(done["threadId"])
    assert newest.id == done["executionTurnId"]


async def test_interrupting_a_workflow_ends_its_turn(stage: Stage, client: Client) -> None:
    begun = await client.call("codex_start_plan_workflow", message="hang", cwd=str(stage.project))
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("hang")
    ended = await client.call("codex_interrupt_turn", workflow_id=begun["workflowId"])
    assert (ended["operationId"], ended["status"]) == (begun["planOperationId"], "interrupted")
    shown = await client.phase(begun["workflowId"], "interrupted")
    assert shown["nextRecommendedAction"] == "inspect_diagnostics"


@pytest.mark.parametrize("delivery", ["inline", "detached"])
async def test_a_review_is_reported_and_never_the_answer_before(
    stage: Stage, client: Client, delivery: str
) -> None:
    task = await client.submit("say The answer before.", cwd=str(stage.project))
    thread_id = (await client.finished(task["operationId"]))["threadId"]
    wish = {
        "target_type": "custom",
        "instructions": "hold gate\nsay Line 3 is wrong.",
        "thread_id": thread_id,
        "delivery": delivery,
        "client_request_id": "review-1",
    }
    begun = await client.call("codex_start_review_workflow", **wish)
    with anyio.fail_after(SOON_SECONDS):
        await stage.model.arrived("gate")
    worker = stage.worker()
    stage.kill(worker)
    await gone(worker)
    again = await client.call("codex_start_review_workflow", **wish)
    assert (again["workflowId"], again["idempotent"]) == (begun["workflowId"], True)
    stage.model.release("gate")
    done = await client.phase(begun["workflowId"], "completed")
    assert done["finalReport"]["text"] == "Line 3 is wrong."
    assert (done["threadId"] == thread_id) == (delivery == "inline")


@pytest.mark.parametrize(
    "target",
    [
        {"target_type": "uncommitted_changes"},
        {"target_type": "base_branch", "base_branch": "main"},
        {"target_type": "commit", "commit_sha": "HEAD", "commit_title": "Oil the till"},
        {"target_type": "custom", "instructions": "say Looked."},
    ],
    ids=lambda target: target["target_type"],
)
async def test_every_target_is_reviewed_in_a_thread_of_its_own(
    stage: Stage, client: Client, target: Result
) -> None:
    who = ("-c", "user.name=anna", "-c", "user.email=anna@localhost")
    for command in (
        ("git", "init", "-q", "-b", "main"),
        ("git", *who, "commit", "-q", "--allow-empty", "-m", "Oil the till"),
    ):
        await anyio.run_process(command, cwd=stage.project)
    begun = await client.call("codex_start_review_workflow", cwd=str(stage.project), **target)
    done = await client.phase(begun["workflowId"], "completed")
    assert done["workflowKind"] == "code_review"
    assert done["finalReport"]["text"]
    assert done["nextRecommendedAction"] == "read_final_report"
