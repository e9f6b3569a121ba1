"""What the desk shows of workflows: the nouns of the public contract, as `views` has the others."""

from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views import (
    BRIEF,
    OPTIONAL,
    TACIT,
    WHERE_IT_APPLIES,
    FinalReport,
    FollowUp,
    InteractionView,
    LastError,
    Message,
    ProgressEvent,
)
from codex_control_plane_mcp.model.workflow import Phase, WorkflowKind


@dataclass(frozen=True, slots=True)
class PlanView:
    """A plan as Codex proposed it, in pages."""

    turn_id: str = field(metadata=TACIT)
    item_id: str = field(metadata=TACIT)
    markdown: str
    #: Names the whole plan, not the page.
    plan_hash: str
    #: Whether it can be approved, or was. Not while a newer one is being made.
    valid: bool
    #: The markdown begins at this character of the whole.
    offset: int = field(metadata=TACIT)
    total_chars: int = field(metadata=TACIT)
    #: The `plan_offset` of the next page; null at the end.
    next_offset: int | None
    read_full_via: FollowUp = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class ApprovalView:
    plan_hash: str
    by: str
    at: Moment


@dataclass(frozen=True, slots=True)
class GoalView:
    objective: str
    #: `agreed`: it is set when the plan is carried out; `setting`, `refused`; else Codex's word.
    status: str
    token_budget: int | None
    tokens_used: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowReceipt:
    """What whoever started a workflow goes on with."""

    workflow_id: str
    phase: Phase
    #: Whether an earlier call had made it.
    idempotent: bool | None = field(default=None, metadata=WHERE_IT_APPLIES)
    next_recommended_action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowState(WorkflowReceipt):
    """What whoever follows a workflow acts on."""

    #: `running`, `waiting` (for somebody), or how it ended, as operations call it.
    status: str
    thread_id: str | None
    plan_operation_id: str | None = field(metadata=TACIT)
    execution_operation_id: str | None
    review_operation_id: str | None = field(metadata=TACIT)
    latest_plan: PlanView | None
    pending_interactions: tuple[InteractionView, ...] = field(metadata=BRIEF)
    #: Of the execution or the review; of planning, where it ended without a plan.
    final_report: FinalReport | None = field(metadata=BRIEF)
    last_error: LastError | None = field(metadata=BRIEF)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowView(WorkflowState):
    """A workflow as its owner should see it."""

    workflow_kind: WorkflowKind
    client_request_id: str | None
    title: str | None
    project_id: str
    cwd: str
    created_at: Moment
    updated_at: Moment
    plan_turn_id: str | None
    execution_turn_id: str | None
    #: A newer plan in the thread that did not come of this workflow.
    candidate_plan: PlanView | None = field(default=None, metadata=OPTIONAL)
    approval: ApprovalView | None
    latest_messages: tuple[Message, ...]
    progress_events: tuple[ProgressEvent, ...] | None = field(default=None, metadata=OPTIONAL)
    thread_goal: GoalView | None
    poll_recommended: bool
    recommended_poll_after_seconds: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalReceipt(WorkflowReceipt):
    execution_operation_id: str
    thread_id: str | None = field(metadata=TACIT)
    plan_hash: str
    approved_by: str = field(metadata=TACIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionReceipt(WorkflowReceipt):
    plan_hash: str
    turn_id: str
