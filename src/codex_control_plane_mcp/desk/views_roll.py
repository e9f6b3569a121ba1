"""What the desk shows of all tasks at once, and of the words they came with."""

from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views import OPTIONAL, LastError, QueueState
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class RollLine:
    """A task, by what people know it by."""

    operation_id: str
    workflow_id: str | None
    #: Its own, or how its message begins.
    title: str
    operation_type: OperationType
    status: Status
    cwd: str
    agent_id: str | None
    thread_id: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    queue_state: QueueState
    #: How long Codex has said nothing of a running turn.
    quiet_for_seconds: float | None
    pending_interaction_count: int
    latest_seq: int
    last_error: LastError | None
    #: Of a fleet: where it runs, or must.
    host: str | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndecidedLine:
    """A workflow that goes on once somebody has decided."""

    workflow_id: str
    title: str
    phase: Phase
    cwd: str
    #: Of the plan to decide on.
    plan_hash: str | None
    updated_at: Moment
    next_recommended_action: str


@dataclass(frozen=True, slots=True)
class Roll:
    """Who wants somebody, what runs, what waits, what ended last."""

    undecided: tuple[UndecidedLine, ...]
    active: tuple[RollLine, ...]
    queued: tuple[RollLine, ...]
    ended: tuple[RollLine, ...]
    #: Of all, though not all are shown.
    active_count: int
    queued_count: int
    hosts: tuple[HostLine, ...] | None = field(default=None, metadata=OPTIONAL)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for, to the letter, and how it may be carried out."""

    title: str
    message: str
    sandbox: str | None
    approval_policy: str | None
    model: str | None
