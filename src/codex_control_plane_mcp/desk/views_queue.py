"""What the desk shows of the queue and of the workers."""

from dataclasses import dataclass, field

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views import WHERE_IT_APPLIES
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.request import OperationType


@dataclass(frozen=True, slots=True)
class QueuedLine:
    """One that waits, and what for."""

    operation_id: str
    operation_type: OperationType
    #: 1 is due first; that agents take turns may bring another forward.
    position: int
    reason: str
    priority: str
    age_seconds: float
    project_id: str
    agent_id: str | None
    thread_id: str | None
    resource_keys: tuple[str, ...]
    #: Of a fleet: where it runs, or must.
    host: str | None = field(default=None, metadata=WHERE_IT_APPLIES)


@dataclass(frozen=True, slots=True)
class ActiveLine:
    """One that is being worked on, and the slots that it takes."""

    operation_id: str
    operation_type: OperationType
    status: Status
    #: Of `global`, `project`, `agent`, `thread` and `project_writes`; steering takes none.
    slots: tuple[str, ...]
    age_seconds: float
    project_id: str
    agent_id: str | None
    thread_id: str | None
    resource_keys: tuple[str, ...]
    #: Of a fleet: where it runs, or must.
    host: str | None = field(default=None, metadata=WHERE_IT_APPLIES)


@dataclass(frozen=True, slots=True)
class LimitsView:
    """By the names of the settings."""

    max_active_turns_global: int
    max_active_turns_per_project: int
    max_active_turns_per_agent: int
    max_active_turns_per_thread: int
    max_active_write_turns_per_project: int


@dataclass(frozen=True, slots=True)
class QueueView:
    queued_count: int
    active_count: int
    queued: tuple[QueuedLine, ...]
    active: tuple[ActiveLine, ...]
    limits: LimitsView
    hosts: tuple[HostLine, ...] | None = field(default=None, metadata=WHERE_IT_APPLIES)


@dataclass(frozen=True, slots=True)
class WorkerLine:
    worker_id: str
    generation: int
    #: `present`, `left`, or `replaced`: a later one took over before it had left.
    status: str
    pid: int
    version: str
    started_at: Moment
    #: It beats while it drives something.
    heartbeat_at: Moment
    left_at: Moment | None
    #: The operations it has in hand.
    driving: tuple[str, ...]
    #: The host of a fleet that it works for.
    host: str | None = None


@dataclass(frozen=True, slots=True)
class WorkersView:
    #: Newest first.
    workers: tuple[WorkerLine, ...]
