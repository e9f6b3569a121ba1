"""What the desk shows to people who look at everything at once."""

from collections.abc import Mapping
from dataclasses import dataclass

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.desk.views import InteractionView, LastError, OperationView, QueueState
from codex_control_plane_mcp.desk.views_fleet import HostLine
from codex_control_plane_mcp.model.interaction import InteractionStatus
from codex_control_plane_mcp.model.journal import Category
from codex_control_plane_mcp.model.operation import Status
from codex_control_plane_mcp.model.request import OperationType
from codex_control_plane_mcp.model.workflow import Phase, WorkflowKind


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationCard:
    """An operation, by what people know it by."""

    operation_id: str
    #: Its own, or how its message begins.
    title: str
    operation_type: OperationType
    status: Status
    project_id: str
    agent_id: str | None
    priority: str
    thread_id: str | None
    workflow_id: str | None
    created_at: Moment
    started_at: Moment | None
    completed_at: Moment | None
    #: How long Codex has said nothing of a running turn.
    quiet_for_seconds: float | None
    #: What happened last in it, while it runs.
    latest: str | None
    #: Why it waits and at which place, while it does.
    queue: QueueState | None
    tokens: int | None
    last_error: LastError | None
    #: Of a fleet: where it runs, or must.
    host: str | None


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What would become of a file."""

    path: str
    #: `add`, `delete` or `update`.
    kind: str
    diff: str


@dataclass(frozen=True, slots=True)
class AskedCard:
    """A question of Codex that waits for somebody, with the task that it belongs to."""

    interaction: InteractionView
    title: str
    project_id: str
    changes: tuple[FileDiff, ...]
    #: The questions in it that may be answered in words of one's own.
    in_words: frozenset[str]


@dataclass(frozen=True, slots=True)
class ClosedCard:
    """A question that needs no answer any more: who said what, when and from where."""

    interaction_id: str
    operation_id: str
    title: str
    prompt: str
    command: str | None
    status: InteractionStatus
    asked_at: Moment
    closed_at: Moment | None
    answered_by: str | None
    answer: object


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowCard:
    workflow_id: str
    workflow_kind: WorkflowKind
    title: str
    phase: Phase
    project_id: str
    created_at: Moment
    updated_at: Moment
    plan_hash: str | None
    approved_by: str | None


@dataclass(frozen=True, slots=True)
class Board:
    """What goes on now, and what wants somebody."""

    questions: tuple[AskedCard, ...]
    #: Workflows that wait for a decision.
    decisions: tuple[WorkflowCard, ...]
    running: tuple[OperationCard, ...]
    queued: tuple[OperationCard, ...]
    queued_count: int
    ended: tuple[OperationCard, ...]
    #: How many turns may run at once.
    limit: int
    #: Of a fleet.
    hosts: tuple[HostLine, ...]


@dataclass(frozen=True, slots=True)
class Inbox:
    questions: tuple[AskedCard, ...]
    closed: tuple[ClosedCard, ...]


@dataclass(frozen=True, slots=True)
class OperationCards:
    """A page of operations, newest first."""

    operations: tuple[OperationCard, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class WorkflowCards:
    """A page of workflows, newest first."""

    workflows: tuple[WorkflowCard, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """All that is known of one operation but its timeline."""

    card: OperationCard
    view: OperationView
    #: What was asked for, to the letter.
    message: str
    #: The whole report.
    report: str | None
    #: The size of all its changes, in words.
    changes: str | None
    questions: tuple[AskedCard, ...]
    closed: tuple[ClosedCard, ...]
    #: The other operations of its thread, newest first.
    in_thread: tuple[OperationCard, ...]
    #: How it was asked to run.
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    seq: int
    at: Moment
    category: Category
    text: str
    #: Entries of one item that speak are parts of one text.
    item_id: str | None


@dataclass(frozen=True, slots=True)
class Timeline:
    entries: tuple[TimelineEntry, ...]
    #: Where to go on.
    last_seq: int
    #: Whether more is there already.
    has_more: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """How much waits for a person."""

    questions: int
    decisions: int

    @property
    def total(self) -> int:
        return self.questions + self.decisions


@dataclass(frozen=True, slots=True)
class Share:
    """What tasks took together: of a day, a project, an agent, or all."""

    name: str
    tasks: int
    seconds: float
    #: Read anew, and from the cache.
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    #: Tasks whose own tokens cannot be told from what was used before them in their thread.
    unknown: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.cached_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class UsageView:
    days: tuple[Share, ...]
    #: By tokens, most first.
    projects: tuple[Share, ...]
    agents: tuple[Share, ...]
    total: Share
