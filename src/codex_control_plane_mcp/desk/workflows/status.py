"""How a workflow stands: one look into the book, as a view.

What is shown of its work is what `desk.status` shows of the operation that matters now.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk import status, views
from codex_control_plane_mcp.desk.runtime import LiveGoal
from codex_control_plane_mcp.desk.workflows.standing import found, present
from codex_control_plane_mcp.desk.workflows.views import (
    ApprovalView,
    GoalView,
    PlanView,
    WorkflowView,
)
from codex_control_plane_mcp.errors import InvalidArgument
from codex_control_plane_mcp.model.ids import WorkflowId
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.schedule import Limits
from codex_control_plane_mcp.model.workflow import (
    ENDED,
    UNDECIDED,
    WANTS_SOMEBODY,
    Phase,
    Proposal,
    Sighting,
    Stand,
    Step,
    Workflow,
)
from codex_control_plane_mcp.store.book import Reading

STATUS_TOOL: Final = "codex_get_workflow_status"
#: A plan is shown in pages of this many characters.
PLAN_PAGE_CHARS: Final = 6_000
#: Events shown where they are asked for.
EVENTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How much to show of a workflow."""

    workflow_id: WorkflowId
    last_messages: int = 1
    message_max_chars: int = 1_200
    include_events: bool = False
    plan_offset: int = 0
    report_offset: int = 0
    refresh_live_goal: bool = False


@dataclass(frozen=True, slots=True)
class Live:
    """What Codex says of the thread at this moment, as far as it was asked and answers."""

    plans: Sequence[Sighting] = ()
    goal: LiveGoal | None = None


def look(reading: Reading, wanted: Look, live: Live, limits: Limits, now: Moment) -> WorkflowView:
    """Raises WorkflowNotFound."""
    workflow = found(reading, wanted.workflow_id)
    return view(reading, workflow, wanted, live, limits, now)


def view(
    reading: Reading,
    workflow: Workflow,
    wanted: Look,
    live: Live,
    limits: Limits,
    now: Moment,
    *,
    idempotent: bool | None = None,
) -> WorkflowView:
    at = present(reading, workflow, live.plans)
    shown = _operation_view(reading, at, wanted, limits, now)
    execution = at.operation if at.step is Step.EXECUTION else None
    # Whoever reads on reads on in the plan that is to be judged.
    offset, its_offset = wanted.plan_offset, 0
    if at.candidate is not None:
        offset, its_offset = 0, wanted.plan_offset
    return WorkflowView(
        workflow_id=workflow.id,
        workflow_kind=workflow.kind,
        client_request_id=workflow.client_request_id,
        phase=at.phase,
        status=status_of(at.phase),
        title=workflow.title,
        project_id=workflow.project_id,
        cwd=workflow.cwd,
        thread_id=at.thread_id,
        created_at=workflow.created_at,
        updated_at=max(workflow.updated_at, at.newest.updated_at),
        idempotent=idempotent,
        plan_operation_id=at.planning.id if at.planning else None,
        plan_turn_id=at.planning.turn_id if at.planning else None,
        execution_operation_id=execution.id if execution else None,
        execution_turn_id=execution.turn_id if execution else None,
        review_operation_id=at.operation.id if at.step is Step.REVIEW else None,
        latest_plan=_plan(workflow, at.proposal, at.is_valid, offset),
        candidate_plan=_plan(workflow, at.candidate, False, its_offset),
        approval=_approval(workflow),
        pending_interactions=shown.pending_interactions,
        latest_messages=shown.latest_messages,
        progress_events=shown.progress_events,
        final_report=shown.final_report,
        thread_goal=_goal(workflow, at, live.goal),
        last_error=status.last_error(at.newest),
        next_recommended_action=next_action(
            at, bool(shown.pending_interactions), is_left=shown.evidence.owner is not None
        ),
        poll_recommended=at.phase not in ENDED | UNDECIDED,
        recommended_poll_after_seconds=shown.recommended_poll_after_seconds,
    )


def line(reading: Reading, workflow: Workflow) -> views.WorkflowLine:
    """A workflow in short."""
    at = present(reading, workflow)
    pending = status.open_questions(reading, [at.operation.id])[at.operation.id]
    return views.WorkflowLine(
        workflow_id=workflow.id,
        workflow_kind=workflow.kind,
        phase=at.phase,
        status=status_of(at.phase),
        thread_id=at.thread_id,
        plan_hash=at.proposal.hash if at.proposal and at.is_valid else None,
        execution_operation_id=at.operation.id if at.step is Step.EXECUTION else None,
        pending_interaction_count=len(pending),
        last_error=status.last_error(at.newest),
        next_recommended_action=next_action(
            at, bool(pending), is_left=status.host_is_away(reading, at.operation)
        ),
    )


def status_of(phase: Phase) -> str:
    """The phase in the words of operations: is it at work, does it wait, how did it end?"""
    if phase in WANTS_SOMEBODY:
        return "waiting"
    return _ENDS.get(phase, "running")


def next_action(at: Stand, is_asked: bool, *, is_left: bool = False) -> str:
    """What whoever follows the workflow should do now; `is_left`: its host is not there."""
    if is_asked:
        return "answer_pending_interaction"
    if is_left:
        return "inspect_diagnostics"
    # Answered already, and the answer is on its way; or at work.
    return _NEXT.get(at.phase) or _WAIT[at.step]


_ENDS: Final = {
    Phase.COMPLETED: Status.COMPLETED.value,
    Phase.FAILED: Status.FAILED.value,
    Phase.INTERRUPTED: Status.INTERRUPTED.value,
    Phase.ORPHANED: Status.UNKNOWN.value,
}
_NEXT: Final = {
    # To show it to whoever decides, and then to have it approved.
    Phase.PLAN_READY: "execute_plan",
    Phase.PLAN_NEEDS_REVIEW: "review_plan",
    Phase.PLAN_CANDIDATE_FOUND: "adopt_candidate_plan",
    Phase.COMPLETED: "read_final_report",
    Phase.FAILED: "inspect_diagnostics",
    Phase.INTERRUPTED: "inspect_diagnostics",
    Phase.ORPHANED: "inspect_diagnostics",
}
_WAIT: Final = {
    Step.PLAN: "wait_plan",
    Step.EXECUTION: "wait_execution",
    Step.REVIEW: "wait_review",
}


def _operation_view(
    reading: Reading, at: Stand, wanted: Look, limits: Limits, now: Moment
) -> views.OperationView:
    operation = at.operation
    if at.step is Step.PLAN and at.phase is not Phase.PLAN_NEEDS_REVIEW:
        # What it came to is the plan; what was said beside it is a message like others.
        operation = replace(operation, report=None)
    wanted_of_it = status.Look(
        operation_id=operation.id,
        last_messages=wanted.last_messages,
        message_max_chars=wanted.message_max_chars,
        progress_events=EVENTS if wanted.include_events else 0,
        report_offset=wanted.report_offset if operation.report else 0,
    )
    return status.view(reading, operation, wanted_of_it, limits, now)


def _plan(
    workflow: Workflow, proposal: Proposal | None, is_valid: bool, offset: int
) -> PlanView | None:
    if proposal is None:
        return None
    markdown = proposal.plan.markdown
    if offset > len(markdown):
        raise InvalidArgument(
            f"plan_offset is beyond the end: the plan has {len(markdown)} characters",
            field="plan_offset",
        )
    page = markdown[offset : offset + PLAN_PAGE_CHARS]
    end = offset + len(page)
    next_offset = end if end < len(markdown) else None
    return PlanView(
        turn_id=proposal.turn_id,
        item_id=proposal.plan.item_id,
        markdown=page,
        plan_hash=proposal.hash,
        valid=is_valid,
        offset=offset,
        total_chars=len(markdown),
        next_offset=next_offset,
        read_full_via=views.FollowUp(
            STATUS_TOOL, {"workflow_id": workflow.id, "plan_offset": next_offset or 0}
        ),
    )


def _approval(workflow: Workflow) -> ApprovalView | None:
    approval = workflow.approval
    return ApprovalView(approval.plan_hash, approval.by, approval.at) if approval else None


def _goal(workflow: Workflow, at: Stand, live: LiveGoal | None) -> GoalView | None:
    """As Codex tells it now, as it last told it, or as it was agreed on."""
    known = live or at.operation.goal
    if known is not None:
        return GoalView(known.objective, known.status, known.token_budget, known.tokens_used)
    goal = workflow.terms.goal
    return GoalView(goal.objective, "agreed", goal.token_budget) if goal else None
