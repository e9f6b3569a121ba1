"""Workflows at the desk: entered, decided on, said more to and shown. Codex is played by tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.interactions import Page
from codex_control_plane_mcp.desk.interrupt import Whole
from codex_control_plane_mcp.desk.runtime import LiveGoal
from codex_control_plane_mcp.desk.submit import Task
from codex_control_plane_mcp.desk.views import OperationView, WaitView
from codex_control_plane_mcp.desk.wait import Until, Watched
from codex_control_plane_mcp.desk.workflows.deciding import CARRY_OUT, Adopt, Approve
from codex_control_plane_mcp.desk.workflows.starting import StartPlan, StartReview
from codex_control_plane_mcp.desk.workflows.status import PLAN_PAGE_CHARS, Look
from codex_control_plane_mcp.desk.workflows.views import (
    AdoptionReceipt,
    ApprovalReceipt,
    WorkflowView,
)
from codex_control_plane_mcp.errors import (
    DuplicatePromptActive,
    IdempotencyMismatch,
    InvalidArgument,
    TurnNotFound,
    WorkflowNotFound,
)
from codex_control_plane_mcp.model.ids import OperationId, ThreadId, TurnId, WorkflowId
from codex_control_plane_mcp.model.operation import (
    Claimed,
    Completed,
    Failed,
    Operation,
    Plan,
    Policy,
    Report,
    Status,
    ThreadBound,
    Trouble,
    TurnAccepted,
    TurnIntended,
)
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    BaseBranch,
    CollaborationMode,
    Commit,
    CustomTarget,
    ExecutePlan,
    GoalCompletion,
    OperationType,
    Review,
    ReviewTarget,
    SendMessage,
    StartChat,
    SteerTurn,
    UncommittedChanges,
)
from codex_control_plane_mcp.model.workflow import Phase, Proposal, Sighting
from codex_control_plane_mcp.store import lookup
from codex_control_plane_mcp.store.interactions import Search
from tests.desk.reception import APP_SERVER, ME, USER_INPUT, Reception, reception

PLAN = "# Mend the till\n\n1. Open it\n2. Oil it"
ANNA = "anna"


# --- Short ways ----------------------------------------------------------------------------------


async def start(at: Reception, message: str = "mend the till", **more: Any) -> WorkflowView:
    given: dict[str, Any] = {"cwd": str(at.project), **more}
    return await at.desk.workflows.start_plan(StartPlan(message=message, **given))


async def status(at: Reception, workflow: WorkflowView | str, **more: Any) -> WorkflowView:
    id_ = workflow if isinstance(workflow, str) else workflow.workflow_id
    return await at.desk.workflows.status(Look(workflow_id=WorkflowId(id_), **more))


async def approve(at: Reception, workflow: WorkflowView, **more: Any) -> ApprovalReceipt:
    given: dict[str, Any] = {"by": ANNA, **more}
    id_ = WorkflowId(workflow.workflow_id)
    return await at.desk.workflows.approve(Approve(workflow_id=id_, **given))


async def adopt(at: Reception, workflow: WorkflowView, turn: str, hash_: str) -> AdoptionReceipt:
    wanted = Adopt(
        workflow_id=WorkflowId(workflow.workflow_id),
        by=ANNA,
        turn_id=TurnId(turn),
        plan_hash=hash_,
    )
    return await at.desk.workflows.adopt(wanted)


async def say(
    at: Reception,
    workflow: WorkflowView,
    message: str,
    kind: OperationType = OperationType.SEND_MESSAGE,
    **more: Any,
) -> OperationView:
    return await at.desk.submit(
        Task(operation_type=kind, message=message, workflow_id=workflow.workflow_id, **more)
    )


async def steer(at: Reception, workflow: WorkflowView, message: str, **more: Any) -> OperationView:
    return await say(at, workflow, message, OperationType.STEER_TURN, **more)


async def runs(at: Reception, operation_id: str | None, turn: str = "u-1") -> str:
    assert operation_id is not None
    policy = Policy("read-only", "on-request", "gpt-test")
    await at.workshop.record(
        operation_id,
        Claimed(ME),
        ThreadBound(ThreadId("t-1"), APP_SERVER, policy),
        TurnIntended(None),
        TurnAccepted(TurnId(turn)),
    )
    return operation_id


async def plans(
    at: Reception, operation_id: str | None, markdown: str | None = PLAN, turn: str = "u-1"
) -> None:
    """Codex works on it, and ends with a plan, or without one."""
    await runs(at, operation_id, turn)
    plan = None if markdown is None else Plan(f"{turn}-plan", markdown)
    at.clock.at += 1
    await at.workshop.record(
        operation_id or "", Completed(Report("That is what I would do.", TurnId(turn), plan))
    )


async def planned(at: Reception, markdown: str | None = PLAN, **more: Any) -> WorkflowView:
    workflow = await start(at, **more)
    await plans(at, workflow.plan_operation_id, markdown)
    return await status(at, workflow)


async def operation(at: Reception, operation_id: str | None) -> Operation:
    found = await at.book.read(lambda reading: lookup.get(reading, OperationId(operation_id or "")))
    assert found is not None
    return found


async def stored(at: Reception) -> int:
    return len(await at.book.read(lookup.every))


# --- A plan, and the decision on it --------------------------------------------------------------


async def test_a_workflow_is_acknowledged_and_stored_before_anything_runs(at: Reception) -> None:
    receipt = await start(at, client_request_id="r-1", title="The till")

    assert (receipt.phase, receipt.status) == (Phase.PLANNING, "running")
    assert receipt.idempotent is False
    assert receipt.next_recommended_action == "wait_plan"
    planning = await operation(at, receipt.plan_operation_id)
    assert planning.workflow_id == receipt.workflow_id
    assert isinstance(planning.request, StartChat)
    assert planning.request.options.collaboration_mode is CollaborationMode.PLAN


@pytest.mark.parametrize(
    ("wanted", "while_planning"),
    [
        (Sandbox.WORKSPACE_WRITE, Sandbox.READ_ONLY),
        (Sandbox.DANGER_FULL_ACCESS, Sandbox.DANGER_FULL_ACCESS),
    ],
)
async def test_planning_is_read_only_unless_there_is_to_be_no_sandbox_at_all(
    at: Reception, wanted: Sandbox, while_planning: Sandbox
) -> None:
    workflow = await planned(at, sandbox=wanted)
    planning = await operation(at, workflow.plan_operation_id)
    assert isinstance(planning.request, StartChat)
    assert planning.request.options.sandbox is while_planning

    execution = await operation(at, (await approve(at, workflow)).execution_operation_id)
    assert isinstance(execution.request, ExecutePlan)
    assert execution.request.options.sandbox is wanted


async def test_a_plan_is_shown_and_approved_by_its_hash_and_carried_out(at: Reception) -> None:
    workflow = await planned(at, sandbox=Sandbox.WORKSPACE_WRITE, model="gpt-wise")
    assert (workflow.phase, workflow.status) == (Phase.PLAN_READY, "waiting")
    assert workflow.next_recommended_action == "execute_plan"
    assert workflow.poll_recommended is False
    shown = workflow.latest_plan
    assert shown is not None
    assert (shown.markdown, shown.valid, shown.turn_id) == (PLAN, True, "u-1")

    receipt = await approve(at, workflow, plan_hash=shown.plan_hash)
    assert receipt.idempotent is False
    assert receipt.next_recommended_action == "wait_execution"
    execution = await operation(at, receipt.execution_operation_id)
    request = execution.request
    assert isinstance(request, ExecutePlan)
    assert request.message == f"{CARRY_OUT}\n\nThe approved plan:\n\n{PLAN}"
    assert request.thread_id == "t-1"
    assert request.plan_hash == shown.plan_hash
    assert request.options.model == "gpt-wise"
    assert request.options.collaboration_mode is CollaborationMode.DEFAULT

    await runs(at, execution.id, "u-2")
    carried = await status(at, workflow)
    assert (carried.phase, carried.execution_turn_id) == (Phase.EXECUTING, "u-2")
    assert carried.approval is not None
    assert carried.approval.by == ANNA
    await at.workshop.complete(execution.id, "Mended.", "u-2")
    done = await status(at, workflow)
    assert (done.phase, done.status) == (Phase.COMPLETED, "completed")
    assert done.final_report is not None
    assert done.final_report.text == "Mended."
    assert done.next_recommended_action == "read_final_report"


async def test_an_approval_may_say_more_and_allow_other_things(at: Reception) -> None:
    workflow = await planned(at)
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    receipt = await approve(
        at,
        workflow,
        message="Mind the cat.",
        sandbox=Sandbox.WORKSPACE_WRITE,
        approval_policy=ApprovalPolicy.NEVER,
        output_schema=schema,
    )
    request = (await operation(at, receipt.execution_operation_id)).request
    assert isinstance(request, ExecutePlan)
    assert request.message.startswith("Mind the cat.\n\n")
    assert request.options.sandbox is Sandbox.WORKSPACE_WRITE
    assert request.options.approval_policy is ApprovalPolicy.NEVER
    assert request.options.output_schema == schema


async def test_what_was_said_beside_the_plan_is_shown_as_a_message(at: Reception) -> None:
    workflow = await start(at)
    await runs(at, workflow.plan_operation_id)
    await at.workshop.say(workflow.plan_operation_id or "", "I assume that it is locked.")
    plan = Plan("u-1-plan", PLAN)
    report = Report("I assume that it is locked.", TurnId("u-1"), plan)
    await at.workshop.record(workflow.plan_operation_id or "", Completed(report))

    shown = await status(at, workflow)
    assert [message.text for message in shown.latest_messages] == ["I assume that it is locked."]
    assert shown.final_report is None


async def test_a_turn_that_ends_without_a_plan_is_shown_and_cannot_be_approved(
    at: Reception,
) -> None:
    workflow = await planned(at, markdown=None)
    assert workflow.phase is Phase.PLAN_NEEDS_REVIEW
    assert workflow.next_recommended_action == "review_plan"
    assert workflow.final_report is not None
    assert workflow.final_report.text == "That is what I would do."

    with pytest.raises(InvalidArgument, match="without a plan") as refused:
        await approve(at, workflow)
    assert refused.value.details["phase"] == "plan_needs_review"
    assert await stored(at) == 1


async def test_nothing_is_approved_while_codex_plans_or_after_planning_failed(
    at: Reception,
) -> None:
    workflow = await start(at)
    with pytest.raises(InvalidArgument, match="is planning"):
        await approve(at, workflow)
    await runs(at, workflow.plan_operation_id)
    await at.workshop.record(workflow.plan_operation_id or "", Failed(Trouble("X", "no credit")))
    with pytest.raises(InvalidArgument, match="failed without a plan"):
        await approve(at, workflow)

    failed = await status(at, workflow)
    assert (failed.phase, failed.next_recommended_action) == (Phase.FAILED, "inspect_diagnostics")
    assert failed.last_error is not None
    assert failed.last_error.message == "no credit"


# --- The same call again -------------------------------------------------------------------------


async def test_the_same_start_again_is_the_same_workflow(at: Reception) -> None:
    first = await start(at, client_request_id="r-1")
    await plans(at, first.plan_operation_id)
    again = await start(at, client_request_id="r-1")
    assert (again.workflow_id, again.idempotent) == (first.workflow_id, True)
    assert again.phase is Phase.PLAN_READY

    with pytest.raises(IdempotencyMismatch) as other:
        await start(at, "mend the door", client_request_id="r-1")
    assert other.value.details["existingWorkflowId"] == first.workflow_id
    with pytest.raises(IdempotencyMismatch):
        await at.desk.submit(
            Task(
                operation_type=OperationType.START_CHAT,
                message="mend the till",
                cwd=str(at.project),
                client_request_id="r-1",
            )
        )
    assert await stored(at) == 1


async def test_the_same_prompt_while_it_is_planned_names_the_workflow(at: Reception) -> None:
    first = await start(at)
    with pytest.raises(DuplicatePromptActive) as refused:
        await start(at, "Mend  the till")
    assert refused.value.details["workflowId"] == first.workflow_id
    assert await stored(at) == 1


async def test_a_plan_is_approved_once(at: Reception) -> None:
    workflow = await planned(at)
    first = await approve(at, workflow, client_request_id="a-1")
    again = await approve(at, workflow, client_request_id="a-1")
    plan = workflow.latest_plan
    assert plan is not None
    named = await approve(at, workflow, plan_hash=plan.plan_hash)
    assert (again.idempotent, named.idempotent) == (True, True)
    assert {one.execution_operation_id for one in (first, again, named)} == {
        first.execution_operation_id
    }

    for other in ({"message": "And paint it."}, {"sandbox": Sandbox.DANGER_FULL_ACCESS}):
        with pytest.raises(IdempotencyMismatch) as refused:
            await approve(at, workflow, **other)
        assert refused.value.details["executionOperationId"] == first.execution_operation_id
    assert await stored(at) == 2


async def test_thirty_approvals_at_once_make_one_execution(at: Reception) -> None:
    workflow = await planned(at)
    receipts: list[ApprovalReceipt] = []

    async def one() -> None:
        receipts.append(await approve(at, workflow))

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(one)
    assert len({receipt.execution_operation_id for receipt in receipts}) == 1
    assert [receipt.idempotent for receipt in receipts].count(False) == 1


class TestOnPostgres:
    """Several machines write, one at a time."""

    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    async def test_approvals_at_once_make_one_execution(
        self, tmp_path: Path, postgres_url: str
    ) -> None:
        with (
            reception(tmp_path / "a", postgres_url=postgres_url, threads=True) as one,
            reception(tmp_path / "b", postgres_url=postgres_url, threads=True) as two,
        ):
            object.__setattr__(two.settings, "projects_root", one.settings.projects_root)
            workflow = await planned(one)
            receipts: list[ApprovalReceipt] = []

            async def decide(at: Reception) -> None:
                receipts.append(await approve(at, workflow))

            with anyio.fail_after(30):
                async with anyio.create_task_group() as group:
                    for at in (one, two) * 4:
                        group.start_soon(decide, at)
            assert len({receipt.execution_operation_id for receipt in receipts}) == 1
            assert await stored(one) == 2


async def test_no_decision_passes_the_ceilings(tmp_path: Path) -> None:
    with reception(tmp_path, max_sandbox="workspace-write") as at:
        with pytest.raises(InvalidArgument, match="CODEX_MCP_MAX_SANDBOX"):
            await start(at, sandbox=Sandbox.DANGER_FULL_ACCESS)
        workflow = await planned(at)
        with pytest.raises(InvalidArgument, match="CODEX_MCP_MAX_SANDBOX"):
            await approve(at, workflow, sandbox=Sandbox.DANGER_FULL_ACCESS)
        assert (await status(at, workflow)).phase is Phase.PLAN_READY


async def test_a_schema_that_is_not_strict_approves_nothing(at: Reception) -> None:
    workflow = await planned(at)
    with pytest.raises(InvalidArgument, match="output_schema"):
        await approve(at, workflow, output_schema={"type": "array"})
    assert (await status(at, workflow)).phase is Phase.PLAN_READY


async def test_a_workflow_whose_folder_is_not_allowed_any_more_is_not_carried_out(
    at: Reception, tmp_path: Path
) -> None:
    workflow = await planned(at)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    object.__setattr__(at.settings, "projects_root", elsewhere)
    with pytest.raises(InvalidArgument, match="allowed"):
        await approve(at, workflow)
    with pytest.raises(InvalidArgument, match="allowed"):
        await say(at, workflow, "Use wax instead.")
    assert await stored(at) == 1


# --- A revised plan ------------------------------------------------------------------------------


async def test_a_message_has_the_plan_made_anew_and_the_old_hash_is_refused(at: Reception) -> None:
    workflow = await planned(at, sandbox=Sandbox.WORKSPACE_WRITE)
    old = workflow.latest_plan
    assert old is not None
    revision = await say(at, workflow, "Use wax instead.", client_request_id="v-1")
    request = (await operation(at, revision.operation_id)).request
    assert isinstance(request, SendMessage)
    assert request.thread_id == "t-1"
    assert request.options.collaboration_mode is CollaborationMode.PLAN
    assert request.options.sandbox is Sandbox.READ_ONLY

    meanwhile = await status(at, workflow)
    assert (meanwhile.phase, meanwhile.plan_operation_id) == (
        Phase.PLANNING,
        revision.operation_id,
    )
    assert meanwhile.latest_plan is not None
    assert meanwhile.latest_plan.valid is False
    with pytest.raises(InvalidArgument):
        await approve(at, workflow, plan_hash=old.plan_hash)

    await plans(at, revision.operation_id, "1. Wax it", turn="u-2")
    revised = await status(at, workflow)
    assert revised.latest_plan is not None
    assert (revised.phase, revised.latest_plan.markdown) == (Phase.PLAN_READY, "1. Wax it")
    with pytest.raises(InvalidArgument, match=revised.latest_plan.plan_hash):
        await approve(at, workflow, plan_hash=old.plan_hash)
    await approve(at, workflow, plan_hash=revised.latest_plan.plan_hash)

    # The same call again, although it would be too late by now.
    again = await say(at, workflow, "Use wax instead.", client_request_id="v-1")
    assert (again.operation_id, again.idempotent) == (revision.operation_id, True)


async def test_the_running_turn_is_told_without_being_named(at: Reception) -> None:
    workflow = await start(at)
    with pytest.raises(InvalidArgument, match="no thread"):
        await steer(at, workflow, "Not with oil.")
    await runs(at, workflow.plan_operation_id)
    told = await steer(at, workflow, "Not with oil.", client_request_id="s-1")
    request = (await operation(at, told.operation_id)).request
    assert isinstance(request, SteerTurn)
    assert (request.thread_id, request.expected_turn_id) == ("t-1", "u-1")
    assert told.workflow_id == workflow.workflow_id

    plan = Plan("u-1-plan", PLAN)
    await at.workshop.record(
        workflow.plan_operation_id or "", Completed(Report("", TurnId("u-1"), plan))
    )
    assert (await status(at, workflow)).phase is Phase.PLAN_READY
    again = await steer(at, workflow, "Not with oil.", client_request_id="s-1")
    assert (again.operation_id, again.idempotent) == (told.operation_id, True)
    with pytest.raises(IdempotencyMismatch):
        await steer(at, workflow, "With oil.", client_request_id="s-1")
    with pytest.raises(InvalidArgument, match="no turn of this workflow runs"):
        await steer(at, workflow, "With oil.")


async def test_an_approved_plan_is_not_made_anew_but_its_execution_can_be_told(
    at: Reception,
) -> None:
    workflow = await planned(at)
    receipt = await approve(at, workflow)
    with pytest.raises(InvalidArgument, match="send_message with thread_id"):
        await say(at, workflow, "Use wax instead.")
    await runs(at, receipt.execution_operation_id, "u-2")
    told = await steer(at, workflow, "Hurry.")
    request = (await operation(at, told.operation_id)).request
    assert isinstance(request, SteerTurn)
    assert request.expected_turn_id == "u-2"


@pytest.mark.parametrize(
    "more",
    [
        {"operation_type": OperationType.START_CHAT},
        {"operation_type": OperationType.EXECUTE_PLAN},
        {"sandbox": Sandbox.DANGER_FULL_ACCESS},
        {"cwd": "/"},
        {"thread_id": "t-2"},
        {"message": " "},
    ],
)
async def test_words_to_a_workflow_that_cannot_be_meant(
    at: Reception, more: dict[str, Any]
) -> None:
    workflow = await planned(at)
    given: dict[str, Any] = {
        "operation_type": OperationType.SEND_MESSAGE,
        "message": "more",
        "workflow_id": workflow.workflow_id,
        **more,
    }
    with pytest.raises(InvalidArgument):
        await at.desk.submit(Task(**given))
    assert await stored(at) == 1


# --- A plan that appeared otherwise --------------------------------------------------------------


async def another_plan(at: Reception, markdown: str, turn: str = "u-5") -> None:
    """Another operation plans in the same thread."""
    receipt = await at.desk.submit(
        Task(operation_type=OperationType.SEND_MESSAGE, message=f"for {turn}", thread_id="t-1")
    )
    await plans(at, receipt.operation_id, markdown, turn)


async def test_a_plan_of_another_operation_is_adopted_before_it_is_approved(
    at: Reception,
) -> None:
    workflow = await planned(at)
    await another_plan(at, "1. Buy a new one")
    found = await status(at, workflow)
    assert found.phase is Phase.PLAN_CANDIDATE_FOUND
    assert found.next_recommended_action == "adopt_candidate_plan"
    candidate = found.candidate_plan
    assert candidate is not None
    assert (candidate.markdown, candidate.turn_id) == ("1. Buy a new one", "u-5")
    with pytest.raises(InvalidArgument, match="codex_adopt_workflow_plan"):
        await approve(at, workflow)

    receipt = await adopt(at, workflow, "u-5", candidate.plan_hash)
    assert (receipt.phase, receipt.idempotent) == (Phase.PLAN_READY, False)
    assert (await adopt(at, workflow, "u-5", candidate.plan_hash)).idempotent is True
    await approve(at, workflow, plan_hash=candidate.plan_hash)
    execution = await operation(at, (await status(at, workflow)).execution_operation_id)
    assert execution.request.message.endswith("1. Buy a new one")


async def test_the_workflows_own_plan_may_be_chosen_again(at: Reception) -> None:
    workflow = await planned(at)
    own = workflow.latest_plan
    assert own is not None
    await another_plan(at, "1. Buy a new one")
    at.clock.at += 1
    await adopt(at, workflow, "u-1", own.plan_hash)
    chosen = await status(at, workflow)
    assert chosen.phase is Phase.PLAN_READY
    assert chosen.latest_plan is not None
    assert chosen.latest_plan.markdown == PLAN


async def test_a_plan_that_a_person_had_made_in_codex_is_a_candidate(at: Reception) -> None:
    workflow = await planned(at)
    proposal = Proposal(TurnId("u-9"), Plan("u-9-plan", "1. Ask Bob"))
    at.runtime.plans = (Sighting(proposal, Moment(at.clock.at + 999)),)
    found = await status(at, workflow)
    assert found.phase is Phase.PLAN_CANDIDATE_FOUND

    at.clock.at += 1000
    await adopt(at, workflow, "u-9", proposal.hash)
    at.runtime.plans = ()  # From now on it is on record.
    adopted = await status(at, workflow)
    assert adopted.latest_plan is not None
    assert (adopted.phase, adopted.latest_plan.markdown) == (Phase.PLAN_READY, "1. Ask Bob")


async def test_an_adoption_names_a_plan_that_is_there(at: Reception) -> None:
    workflow = await planned(at)
    with pytest.raises(TurnNotFound):
        await adopt(at, workflow, "u-404", "0" * 64)
    with pytest.raises(InvalidArgument, match="candidate_plan_hash"):
        await adopt(at, workflow, "u-1", "0" * 64)
    running = await start(at, "mend the door")
    with pytest.raises(InvalidArgument, match="is planning"):
        await adopt(at, running, "u-1", "0" * 64)


async def test_a_revision_after_an_adoption_counts_and_the_adoption_can_be_made_again(
    at: Reception,
) -> None:
    workflow = await planned(at)
    own = workflow.latest_plan
    assert own is not None
    await adopt(at, workflow, "u-1", own.plan_hash)
    revision = await say(at, workflow, "Use wax instead.")
    await plans(at, revision.operation_id, "1. Wax it", turn="u-2")
    shown = (await status(at, workflow)).latest_plan
    assert shown is not None
    assert shown.markdown == "1. Wax it"

    again = await adopt(at, workflow, "u-1", own.plan_hash)
    assert again.idempotent is False
    shown = (await status(at, workflow)).latest_plan
    assert shown is not None
    assert shown.markdown == PLAN


# --- Questions, the end, waiting -----------------------------------------------------------------


async def test_what_codex_asks_while_it_plans_is_a_question_of_the_workflow(at: Reception) -> None:
    workflow = await start(at)
    await runs(at, workflow.plan_operation_id)
    question = {"questions": [{"id": "q", "header": "Oil", "question": "Which oil?"}]}
    asked = await at.workshop.ask(workflow.plan_operation_id or "", question, USER_INPUT)

    shown = await status(at, workflow)
    assert shown.phase is Phase.WAITING_FOR_USER_INPUT
    assert shown.next_recommended_action == "answer_pending_interaction"
    assert [one.interaction_id for one in shown.pending_interactions] == [asked]
    listed = await at.desk.interactions(Page(Search(workflow_id=WorkflowId(workflow.workflow_id))))
    assert [one.interaction_id for one in listed.interactions] == [asked]
    other = await start(at, "mend the door")
    listed = await at.desk.interactions(Page(Search(workflow_id=WorkflowId(other.workflow_id))))
    assert listed.interactions == ()


async def test_interrupting_a_workflow_ends_what_has_not_ended(at: Reception) -> None:
    workflow = await start(at)
    await runs(at, workflow.plan_operation_id)
    revision = await say(at, workflow, "Use wax instead.")
    whole = Whole(WorkflowId(workflow.workflow_id))
    async with anyio.create_task_group() as group:
        group.start_soon(at.desk.interrupt, whole, ANNA)
        await anyio.sleep(1)
        await at.workshop.grant_wishes()
    ended = await status(at, workflow)
    assert (ended.phase, ended.status) == (Phase.INTERRUPTED, "interrupted")
    assert (await operation(at, revision.operation_id)).status is Status.CANCELLED

    assert (await at.desk.interrupt(whole, ANNA)).changed is False


async def test_waiting_returns_at_the_next_phase_and_not_before(at: Reception) -> None:
    workflow = await start(at)
    began = anyio.current_time()

    async def work() -> None:
        await anyio.sleep(2)
        await runs(at, workflow.plan_operation_id)  # Still planning.
        await anyio.sleep(3)
        plan = Completed(Report("", TurnId("u-1"), Plan("u-1-plan", PLAN)))
        await at.workshop.record(workflow.plan_operation_id or "", plan)

    look = Look(workflow_id=WorkflowId(workflow.workflow_id))
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        shown = await at.desk.workflows.status(look, 45)
    assert (shown.phase, anyio.current_time() - began) == (Phase.PLAN_READY, 5)
    assert (await at.desk.workflows.status(look, 45)).phase is Phase.PLAN_READY
    assert anyio.current_time() - began == 5


async def test_several_workflows_and_tasks_are_waited_for_together(at: Reception) -> None:
    plan, task = (
        await start(at),
        await at.desk.submit(
            Task(operation_type=OperationType.START_CHAT, message="sweep", cwd=str(at.project))
        ),
    )
    watched = Watched([OperationId(task.operation_id)], [WorkflowId(plan.workflow_id)])

    async def wait(cursor: str | None, until: Until = Until.ATTENTION) -> WaitView:
        return await at.desk.wait(watched, 45, cursor, until)

    async def work() -> None:
        await anyio.sleep(1)
        await plans(at, plan.plan_operation_id)
        await anyio.sleep(1)
        await approve(at, plan)
        await anyio.sleep(1)
        await at.workshop.record(task.operation_id, Failed(Trouble("X", "no broom")))

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        first = await wait(None)
        assert [line.phase for line in first.workflows] == [Phase.PLAN_READY]
        assert (first.operations, first.unfinished) == ((), 2)
        second = await wait(first.cursor, Until.CHANGE)
        assert [line.phase for line in second.workflows] == [Phase.EXECUTING]
        third = await wait(second.cursor)
    assert [line.status for line in third.operations] == [Status.FAILED]
    assert third.workflows == ()


async def test_a_long_plan_is_shown_in_pages_whose_hash_is_that_of_the_whole(
    at: Reception,
) -> None:
    long = "\n".join(f"{number}. Turn the screw" for number in range(1_000))
    workflow = await planned(at, markdown=long)
    text, offset, hashes = "", 0, set()
    while True:
        page = (await status(at, workflow, plan_offset=offset)).latest_plan
        assert page is not None
        assert len(page.markdown) <= PLAN_PAGE_CHARS
        text += page.markdown
        hashes.add(page.plan_hash)
        if page.next_offset is None:
            break
        assert page.read_full_via.arguments["plan_offset"] == page.next_offset
        offset = page.next_offset
    assert text == long
    assert len(hashes) == 1
    with pytest.raises(InvalidArgument, match="plan_offset"):
        await status(at, workflow, plan_offset=len(long) + 1)


async def test_a_workflow_that_is_not_there_is_named(at: Reception) -> None:
    for call in (
        status(at, "wf-none"),
        at.desk.workflows.approve(Approve(workflow_id=WorkflowId("wf-none"), by=ANNA)),
        at.desk.interrupt(Whole(WorkflowId("wf-none")), ANNA),
        at.desk.wait(Watched([], [WorkflowId("wf-none")]), 0, None),
        at.desk.interactions(Page(Search(workflow_id=WorkflowId("wf-none")))),
    ):
        with pytest.raises(WorkflowNotFound, match="wf-none"):
            await call


# --- Goals ---------------------------------------------------------------------------------------


async def test_a_goal_goes_with_the_execution_and_not_with_planning(at: Reception) -> None:
    workflow = await planned(
        at,
        goal="The till rings.",
        goal_token_budget=5_000,
        goal_completion_action=GoalCompletion.SET_COMPLETE,
    )
    assert workflow.thread_goal is not None
    assert workflow.thread_goal.status == "agreed"
    execution = await operation(at, (await approve(at, workflow)).execution_operation_id)
    assert isinstance(execution.request, ExecutePlan)
    goal = execution.request.goal
    assert goal is not None
    assert (goal.objective, goal.token_budget) == ("The till rings.", 5_000)

    at.runtime.goal = LiveGoal("The till rings.", "active", 5_000, 17)
    live = (await status(at, workflow, refresh_live_goal=True)).thread_goal
    assert live is not None
    assert (live.status, live.tokens_used) == ("active", 17)


@pytest.mark.parametrize(
    "given",
    [
        {"goal": "The till rings."},
        {"goal_token_budget": 100},
        {"goal": " ", "goal_token_budget": 100},
        {"goal": "x", "goal_token_budget": 1, "goal_completion_objective": "It rang."},
    ],
)
async def test_a_goal_without_an_end_is_refused(at: Reception, given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="goal"):
        await start(at, **given)
    assert await stored(at) == 0


# --- Reviews -------------------------------------------------------------------------------------


async def review(at: Reception, target: ReviewTarget, **more: Any) -> WorkflowView:
    given: dict[str, Any] = {} if "thread_id" in more else {"cwd": str(at.project)}
    return await at.desk.workflows.start_review(StartReview(target=target, **given, **more))


async def test_a_review_is_a_workflow_of_one_operation(at: Reception) -> None:
    workflow = await review(at, BaseBranch("main"), client_request_id="r-1")
    assert (workflow.phase, workflow.next_recommended_action) == (Phase.REVIEWING, "wait_review")
    assert workflow.plan_operation_id is None
    assert (await review(at, BaseBranch("main"), client_request_id="r-1")).idempotent is True
    await runs(at, workflow.review_operation_id)
    await at.workshop.complete(workflow.review_operation_id or "", "Line 3 is wrong.")

    done = await status(at, workflow)
    assert done.phase is Phase.COMPLETED
    assert done.final_report is not None
    assert done.final_report.text == "Line 3 is wrong."
    with pytest.raises(InvalidArgument):
        await approve(at, workflow)


async def test_a_review_is_in_a_thread_or_beside_it(at: Reception) -> None:
    await planned(at)
    inline = await review(at, UncommittedChanges(), thread_id="t-1")
    beside = await review(at, CustomTarget("look at it"), thread_id="t-1", detached=True)
    one = (await operation(at, inline.review_operation_id)).request
    two = (await operation(at, beside.review_operation_id)).request
    assert isinstance(one, Review)
    assert isinstance(two, Review)
    assert (one.thread_id, one.source_thread_id) == ("t-1", None)
    assert (two.thread_id, two.source_thread_id) == (None, "t-1")


@pytest.mark.parametrize(
    "target",
    [
        BaseBranch("--upload-pack=x"),
        BaseBranch("a b"),
        Commit("-1"),
        Commit("abc", " "),
        CustomTarget(""),
        CustomTarget("x" * 200_001),
    ],
)
async def test_a_review_of_what_cannot_be_named(at: Reception, target: ReviewTarget) -> None:
    with pytest.raises(InvalidArgument):
        await review(at, target)
    assert await stored(at) == 0
