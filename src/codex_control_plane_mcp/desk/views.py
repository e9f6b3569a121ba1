"""What the desk shows: the nouns of the public contract, before a door spells them.

One definition serves the JSON and its schema. A field marked `OPTIONAL` is left out where it has
nothing to say; every other one is always there, if only as null.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.model.interaction import InteractionStatus, Kind
from codex_control_plane_mcp.model.operation import Policy, Status, StructuredStatus, TokenUsage
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import Phase, WorkflowKind

OPTIONAL: Final = {"optional": True}
#: Schemas do not spell out what is in it: another tool does, or it is only to be looked at.
BRIEF: Final = {"brief": True}
#: Goes without saying: schemas leave it out, for an agent pays for each word of them.
TACIT: Final = {"tacit": True}
WHERE_IT_APPLIES: Final = {**OPTIONAL, **TACIT}


@dataclass(frozen=True, slots=True)
class QueueState:
    #: `queued`, `active` or `done`.
    state: str
    reason: str | None = None
    #: 1 is next; null when nothing is waited for.
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Something the agent said, as far as it is known."""

    seq: int
    at: Moment
    text: str
    truncated: bool | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    seq: int
    at: Moment
    category: str
    text: str


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The call that shows more."""

    tool: str
    arguments: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FinalReport:
    text: str
    #: The answer as JSON, where a schema was asked for and it is of that schema. One of more than a
    #: page is not repeated here: read the text to its end and parse that.
    structured: Mapping[str, object] | None
    #: Null where no schema was asked for.
    structured_status: StructuredStatus | None
    thread_id: str | None = field(metadata=TACIT)
    #: None where there was no turn.
    turn_id: str | None = field(metadata=TACIT)
    #: The text begins at this character of the whole.
    offset: int = field(metadata=TACIT)
    total_chars: int = field(metadata=TACIT)
    #: The `report_offset` of the next part; null at the end.
    next_offset: int | None
    read_full_via: FollowUp = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class LastError:
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Whose word the status is, and how old."""

    source: str
    observed_at: Moment
    app_server: str | None
    #: How long Codex has said nothing of a running turn. A fact, not a failure.
    quiet_for_seconds: float | None
    #: The host of a fleet that has it, and `owner_gone` while that is out of reach: the turn may
    #: well go on there.
    host: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class QuestionView:
    id: str
    header: str
    question: str
    options: tuple["OptionView", ...]
    is_secret: bool


@dataclass(frozen=True, slots=True)
class OptionView:
    label: str
    description: str


@dataclass(frozen=True, slots=True)
class InteractionView:
    interaction_id: str
    kind: Kind
    method: str = field(metadata=TACIT)
    operation_id: str
    thread_id: str = field(metadata=TACIT)
    turn_id: str | None = field(metadata=TACIT)
    prompt: str
    command: str | None
    cwd: str | None
    reason: str | None
    available_decisions: tuple[object, ...]
    questions: tuple[QuestionView, ...]
    risk_summary: str | None
    status: InteractionStatus
    created_at: Moment = field(metadata=TACIT)
    expires_at: Moment | None = field(metadata=TACIT)
    answered_by: str | None = field(metadata=TACIT)
    #: What else is asked for: permissions, a form's schema, the changes of a patch.
    details: Mapping[str, object] | None = field(default=None, metadata=WHERE_IT_APPLIES)


@dataclass(frozen=True, slots=True)
class OutputSchemaState:
    provided: bool
    #: Codex took the turn with it.
    applied: bool
    structured_status: StructuredStatus | None


@dataclass(frozen=True, slots=True)
class InputItemState:
    """Pictures that go with the message. Where they are is not repeated: an address may hold a
    secret."""

    count: int
    local_image_count: int
    image_url_count: int


@dataclass(frozen=True, slots=True)
class SteerState:
    #: Codex took the words into the turn.
    accepted: bool
    target_thread_id: str
    target_turn_id: str


@dataclass(frozen=True, slots=True)
class ForkState:
    #: Codex has made the new thread.
    accepted: bool
    source_thread_id: str
    forked_thread_id: str | None
    has_initial_message: bool


@dataclass(frozen=True, slots=True)
class WorktreeView:
    #: `pending`, then `kept`; `gone` once somebody has removed it.
    state: str
    path: str | None = None
    branch: str | None = None
    base_commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The least that whoever had a turn started goes on with."""

    operation_id: str
    status: Status
    thread_id: str | None
    turn_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Started):
    """What whoever handed in a task goes on with."""

    client_request_id: str | None = field(metadata=TACIT)
    #: Whether an earlier call had made it.
    idempotent: bool | None = field(default=None, metadata=WHERE_IT_APPLIES)
    queue_state: QueueState = field(metadata=BRIEF)
    last_error: LastError | None = field(metadata=BRIEF)
    next_recommended_action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationView(Receipt):
    """An operation as its owner should see it; also what a submission is answered with."""

    operation_type: OperationType = field(metadata=TACIT)
    phase: str = field(metadata=TACIT)
    project_id: str = field(metadata=TACIT)
    workflow_id: str | None = field(default=None, metadata=TACIT)
    cwd: str = field(metadata=TACIT)
    created_at: Moment = field(metadata=TACIT)
    updated_at: Moment = field(metadata=TACIT)
    started_at: Moment | None = field(metadata=TACIT)
    completed_at: Moment | None = field(metadata=TACIT)
    pending_interactions: tuple[InteractionView, ...] = field(metadata=BRIEF)
    latest_messages: tuple[Message, ...] = field(metadata=BRIEF)
    progress_events: tuple[ProgressEvent, ...] | None = field(
        default=None, metadata=OPTIONAL | BRIEF
    )
    latest_seq: int = field(metadata=TACIT)
    #: The `after_seq` to go on with: events up to here have been shown.
    next_after_seq: int | None = field(default=None, metadata=OPTIONAL)
    token_usage: TokenUsage | None = field(metadata=TACIT)
    final_report: FinalReport | None
    evidence: Evidence = field(metadata=BRIEF)
    effective_policy: Policy | None = field(metadata=TACIT)
    output_schema_state: OutputSchemaState | None = field(default=None, metadata=WHERE_IT_APPLIES)
    input_item_state: InputItemState | None = field(default=None, metadata=WHERE_IT_APPLIES)
    steer_state: SteerState | None = field(default=None, metadata=WHERE_IT_APPLIES)
    fork_state: ForkState | None = field(default=None, metadata=WHERE_IT_APPLIES)
    worktree: WorktreeView | None = field(default=None, metadata=WHERE_IT_APPLIES)
    poll_recommended: bool = field(metadata=TACIT)
    recommended_poll_after_seconds: int | None = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class OperationLine:
    """An operation in a list."""

    operation_id: str
    status: Status
    phase: str = field(metadata=TACIT)
    project_id: str = field(metadata=TACIT)
    thread_id: str | None
    turn_id: str | None = field(metadata=TACIT)
    updated_at: Moment = field(metadata=TACIT)
    completed_at: Moment | None = field(metadata=TACIT)
    pending_interaction_count: int
    latest_seq: int = field(metadata=TACIT)
    last_error: LastError | None
    next_recommended_action: str


@dataclass(frozen=True, slots=True)
class WorkflowLine:
    """A workflow in a list."""

    workflow_id: str
    workflow_kind: WorkflowKind
    phase: Phase
    status: str
    thread_id: str | None
    plan_hash: str | None
    execution_operation_id: str | None
    pending_interaction_count: int
    last_error: LastError | None
    next_recommended_action: str


@dataclass(frozen=True, slots=True)
class WaitView:
    """What changed; with `cursor` the next call tells only of later changes."""

    operations: tuple[OperationLine, ...]
    workflows: tuple[WorkflowLine, ...]
    cursor: str
    timed_out: bool
    #: How many of those asked for have not ended yet.
    unfinished: int


@dataclass(frozen=True, slots=True)
class InteractionList:
    interactions: tuple[InteractionView, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class AnswerReceipt:
    interaction_id: str
    operation_id: str = field(metadata=TACIT)
    thread_id: str = field(metadata=TACIT)
    turn_id: str | None = field(metadata=TACIT)
    status: InteractionStatus
    answered_by: str
    #: Whether Codex has it; if not yet, it is on its way and stored.
    delivered: bool
    next_recommended_action: str = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class InterruptReceipt:
    operation_id: str
    thread_id: str | None = field(metadata=TACIT)
    turn_id: str | None = field(metadata=TACIT)
    status: Status
    #: Whether this call ended it, or will: false for what had ended before.
    changed: bool
    #: Whether its end is known.
    ended: bool
    last_error: LastError | None = field(metadata=TACIT)
    next_recommended_action: str = field(metadata=TACIT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionView:
    """Something done with a thread as a whole."""

    action_id: str
    operation_id: str = field(metadata=TACIT)
    operation_type: OperationType = field(metadata=TACIT)
    thread_id: str | None = field(metadata=TACIT)
    status: Status
    created_at: Moment = field(metadata=TACIT)
    completed_at: Moment | None = field(metadata=TACIT)
    idempotent: bool | None = field(default=None, metadata=WHERE_IT_APPLIES)
    #: What came of it, in words.
    result: str | None
    last_error: LastError | None = field(metadata=TACIT)
    next_recommended_action: str = field(metadata=TACIT)
    poll_recommended: bool = field(metadata=TACIT)
    recommended_poll_after_seconds: int | None = field(metadata=TACIT)


@dataclass(frozen=True, slots=True)
class ProjectView:
    project_id: str
    name: str
    path: str
    last_activity_at: Moment | None
    #: Whether tasks may be sent there: it lies within the allowed roots.
    allowed: bool
    #: How it is known.
    source: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class ProjectList:
    projects: tuple[ProjectView, ...]
    total: int
    #: What must be set before tasks can be taken, if anything.
    advice: str | None


@dataclass(frozen=True, slots=True)
class ActiveWork:
    active_turn_count: int
    pending_interaction_count: int
    #: Operations that wait in the queue.
    pending_requests: int


@dataclass(frozen=True, slots=True)
class QueueHealth:
    queued: int
    active: int
    #: How many turns may run at once.
    limit: int


@dataclass(frozen=True, slots=True)
class AppServerHealth:
    #: `running`, `not_started` (it is started by the first task) or `unavailable`.
    status: str
    pid: int | None
    version: str | None
    transport: str | None
    ownership: str | None
    started_at: Moment | None
    active_turns: int | None


@dataclass(frozen=True, slots=True)
class CodexHealth:
    binary: str | None
    version: str | None


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    pid: int
    generation: int
    version: str
    started_at: Moment
    heartbeat_at: Moment


@dataclass(frozen=True, slots=True)
class StateDatabase:
    path: str
    bytes: int | None


@dataclass(frozen=True, slots=True)
class DiskHealth:
    """Where the state lies."""

    folder: str
    free_bytes: int | None
    writable: bool


@dataclass(frozen=True, slots=True)
class HooksHealth:
    """What tells of turns that people type in Codex."""

    #: Whether Codex's `hooks.json` names ours. Whether it trusts them its own doctor says.
    installed: bool
    enabled: bool
    #: Told, and not taken in yet.
    waiting: int


@dataclass(frozen=True, slots=True)
class RecentError:
    operation_id: str
    status: Status
    code: str
    message: str
    at: Moment


@dataclass(frozen=True, slots=True)
class Problem:
    #: `broken`, `degraded` or `advice`.
    severity: str
    message: str


@dataclass(frozen=True, slots=True)
class CapabilitiesBrief:
    """What Codex offered when it was last asked, in short."""

    status: str
    generated_at: Moment
    model_count: int | None
    sandbox_readiness: str | None
    logged_in: bool | None


@dataclass(frozen=True, slots=True)
class HealthView:
    overall_status: str
    problems: tuple[Problem, ...]
    active_work: ActiveWork
    queue: QueueHealth = field(metadata=TACIT)
    app_server: AppServerHealth
    codex: CodexHealth = field(metadata=TACIT)
    worker: WorkerHealth | None = field(metadata=TACIT)
    state_database: StateDatabase = field(metadata=TACIT)
    disk: DiskHealth = field(metadata=TACIT)
    hooks: HooksHealth = field(metadata=TACIT)
    recent_errors: tuple[RecentError, ...]
    next_recommended_action: str
    operation: OperationLine | None = field(default=None, metadata=OPTIONAL)
    runtime_capabilities: CapabilitiesBrief | None = field(default=None, metadata=WHERE_IT_APPLIES)
    hosts: tuple[HostLine, ...] | None = field(default=None, metadata=WHERE_IT_APPLIES)
