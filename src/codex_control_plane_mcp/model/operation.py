"""The life of an operation: every state, every fact that moves it, one table.

Rule 1: a final state never changes.
Rule 2: no turn runs, and none has ended, that Codex has not accepted.
Rule 3: `completed` is reached only by Codex's own word that the turn completed, or, where no turn
of its own is asked for (steering, a bare fork, archiving), that it did what it was told.

The table at the end is the only place that says which fact may follow which state. The store
applies it, the documents draw it, the database repeats its end states as a CHECK.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from codex_control_plane_mcp.clock import Moment
from codex_control_plane_mcp.model.ids import (
    HERE,
    NOBODY,
    AppServerId,
    Generation,
    HostId,
    OperationId,
    ThreadId,
    TurnId,
    WorkflowId,
    new_client_message_id,
)
from codex_control_plane_mcp.model.request import TaskRequest


class Status(StrEnum):
    """Where an operation stands, by its public name."""

    QUEUED = "queued"
    STARTING_THREAD = "starting_thread"
    STARTING_TURN = "starting_turn"
    RUNNING = "running"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    WAITING_FOR_USER_INPUT = "waiting_for_user_input"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"
    #: Codex may or may not have done the work, and nobody is left who knows.
    UNKNOWN = "unknown_after_app_server_exit"


QUEUED: Final = frozenset({Status.QUEUED})
STARTING: Final = frozenset({Status.STARTING_THREAD, Status.STARTING_TURN})
#: Codex has said that it has the turn, and has not yet said that it ended.
WITH_TURN: Final = frozenset(
    {Status.RUNNING, Status.WAITING_FOR_APPROVAL, Status.WAITING_FOR_USER_INPUT}
)
#: Claimed by a worker and not ended.
ACTIVE: Final = STARTING | WITH_TURN
FINAL: Final = frozenset(
    {
        Status.COMPLETED,
        Status.FAILED,
        Status.INTERRUPTED,
        Status.CANCELLED,
        Status.UNKNOWN,
    }
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What Codex said the thread runs with: its word, not our wish."""

    sandbox: str
    approval_policy: str
    model: str
    #: `plan` or `default`; None when Codex did not say.
    collaboration_mode: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """Our wish for one turn, stored before `turn/start` is sent.

    After a crash it says what to look for: a message that bears `client_message_id`, or a turn of
    this thread that is newer than `last_turn_id`.
    """

    attempt: int
    client_message_id: str
    last_turn_id: TurnId | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan as Codex marks one: an item of its own, never words that look like a plan."""

    item_id: str
    markdown: str


class StructuredStatus(StrEnum):
    """How a report goes with the output schema that was asked for."""

    VALID = "valid"
    #: JSON, but not of the schema.
    INVALID = "invalid"
    NOT_JSON = "not_json"


@dataclass(frozen=True, slots=True)
class Report:
    """What Codex said at the end of the turn, to the letter (secrets masked)."""

    text: str
    #: None where there was no turn.
    turn_id: TurnId | None
    plan: Plan | None = None
    structured: StructuredStatus | None = None


@dataclass(frozen=True, slots=True)
class Worktree:
    """A git worktree that was made for an operation, and is kept until its caller removes it."""

    path: str
    branch: str
    #: What was checked out when it was made.
    base_commit: str
    #: The folder within that stands for the one which the task named.
    cwd: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why an operation did not complete. `code` is a public error code or Codex's own."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of the whole thread, as last reported by Codex."""

    input: int
    cached_input: int
    output: int
    reasoning_output: int
    total: int
    context_window: int | None


@dataclass(frozen=True, slots=True)
class GoalProgress:
    """How far Codex has come with a goal, in its own words but for two."""

    objective: str
    #: Ours: `setting` until it is known that Codex has it, `refused` if it would not.
    status: str
    token_budget: int | None
    tokens_used: int = 0


@dataclass(frozen=True, slots=True)
class Operation:
    """One durable write to Codex."""

    id: OperationId
    request: TaskRequest
    client_request_id: str | None
    agent_id: str | None
    priority: str
    created_at: Moment
    updated_at: Moment
    resource_keys: tuple[str, ...] = ()
    workflow_id: WorkflowId | None = None
    status: Status = Status.QUEUED
    started_at: Moment | None = None
    completed_at: Moment | None = None
    thread_id: ThreadId | None = None
    turn_id: TurnId | None = None
    app_server_id: AppServerId | None = None
    worktree: Worktree | None = None
    intent: Intent | None = None
    policy: Policy | None = None
    report: Report | None = None
    trouble: Trouble | None = None
    token_usage: TokenUsage | None = None
    goal: GoalProgress | None = None
    #: When Codex was last heard of this turn, whatever it said.
    heard_at: Moment | None = None
    #: Sequence number of the newest journal entry.
    last_seq: int = 0
    #: Sequence number of the entry that last changed `status`.
    status_seq: int = 0
    #: Who may write to it; 0 while nobody has claimed it.
    generation: Generation = NOBODY
    #: Where it runs, or must: its thread lives there. None while any host may take it.
    host: HostId | None = None
    #: What that host must have.
    host_labels: tuple[str, ...] = ()
    #: Its folder there, where that is not the one that was asked for.
    checkout: str | None = None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL

    @property
    def cwd(self) -> str:
        """Where it works."""
        return self.folder if self.worktree is None else self.worktree.cwd

    @property
    def folder(self) -> str:
        """The folder that was asked for, as its host has it."""
        return self.checkout or self.request.cwd


# --- Facts: what has happened, in the past tense -------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """A worker took it from the queue."""

    generation: Generation
    host: HostId = HERE
    checkout: str | None = None


@dataclass(frozen=True, slots=True)
class Adopted:
    """A later worker took over from one that is gone."""

    generation: Generation


@dataclass(frozen=True, slots=True)
class WorktreeMade:
    """It has a git worktree to work in."""

    worktree: Worktree


@dataclass(frozen=True, slots=True)
class ThreadBound:
    """Codex has a thread for it, owned by this app-server."""

    thread_id: ThreadId
    app_server_id: AppServerId
    #: None where Codex was not asked: steering does not touch it.
    policy: Policy | None


@dataclass(frozen=True, slots=True)
class ThreadLost:
    """The app-server knows no such thread: it never had a turn, so nothing was started."""


@dataclass(frozen=True, slots=True)
class TurnIntended:
    """About to send `turn/start`. Stored before it is sent."""

    last_turn_id: TurnId | None


@dataclass(frozen=True, slots=True)
class TurnAccepted:
    """Codex has the turn. `evidence` says how that is known."""

    turn_id: TurnId
    evidence: str = "turn/start answered"


@dataclass(frozen=True, slots=True)
class TurnContinued:
    """That turn has ended, and Codex goes on by itself with another: it pursues a goal."""

    turn_id: TurnId


@dataclass(frozen=True, slots=True)
class OwnerChanged:
    """Another app-server process answers for the thread now, the former one being gone."""

    app_server_id: AppServerId


@dataclass(frozen=True, slots=True)
class ApprovalAwaited:
    """Codex waits for a yes or no."""


@dataclass(frozen=True, slots=True)
class UserInputAwaited:
    """Codex waits for words."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """Codex waits for nobody any more."""


@dataclass(frozen=True, slots=True)
class Completed:
    report: Report


@dataclass(frozen=True, slots=True)
class Done:
    """Codex did what was asked, and no turn was needed for it."""

    report: Report


@dataclass(frozen=True, slots=True)
class Failed:
    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Interrupted:
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Ended before any turn began."""


@dataclass(frozen=True, slots=True)
class Lost:
    """No evidence can be had any more of whether the turn ran."""

    trouble: Trouble


Fact: TypeAlias = (
    Claimed
    | Adopted
    | WorktreeMade
    | ThreadBound
    | ThreadLost
    | TurnIntended
    | TurnAccepted
    | TurnContinued
    | OwnerChanged
    | ApprovalAwaited
    | UserInputAwaited
    | Resumed
    | Completed
    | Done
    | Failed
    | Interrupted
    | Cancelled
    | Lost
)


class IllegalTransition(Exception):
    """A fact that cannot follow the state: our own mistake, never a caller's."""


#: fact → (states it may follow, state it leads to; `None` keeps the state)
TRANSITIONS: Final[dict[type[Fact], tuple[frozenset[Status], Status | None]]] = {
    Claimed: (QUEUED, Status.STARTING_THREAD),
    Adopted: (ACTIVE, None),
    WorktreeMade: (frozenset({Status.STARTING_THREAD}), None),
    ThreadBound: (frozenset({Status.STARTING_THREAD}), Status.STARTING_TURN),
    ThreadLost: (frozenset({Status.STARTING_TURN}), Status.STARTING_THREAD),
    TurnIntended: (frozenset({Status.STARTING_TURN}), None),
    TurnAccepted: (frozenset({Status.STARTING_TURN}), Status.RUNNING),
    TurnContinued: (WITH_TURN, Status.RUNNING),
    OwnerChanged: (ACTIVE, None),
    ApprovalAwaited: (WITH_TURN, Status.WAITING_FOR_APPROVAL),
    UserInputAwaited: (WITH_TURN, Status.WAITING_FOR_USER_INPUT),
    Resumed: (WITH_TURN, Status.RUNNING),
    Completed: (WITH_TURN, Status.COMPLETED),
    Done: (STARTING, Status.COMPLETED),
    Failed: (QUEUED | ACTIVE, Status.FAILED),
    Interrupted: (WITH_TURN, Status.INTERRUPTED),
    Cancelled: (QUEUED | STARTING, Status.CANCELLED),
    Lost: (ACTIVE - {Status.STARTING_THREAD}, Status.UNKNOWN),
}


def apply(operation: Operation, fact: Fact, at: Moment) -> Operation:
    """`operation` after `fact`.

    Raises IllegalTransition when the table does not allow it. Sequence numbers are the store's.
    """
    allowed, target = TRANSITIONS[type(fact)]
    if operation.status not in allowed:
        raise IllegalTransition(f"{type(fact).__name__} cannot follow {operation.status}")
    status = target or operation.status
    moved = replace(
        operation,
        status=status,
        updated_at=max(at, operation.updated_at),
        completed_at=at if status in FINAL else None,
    )
    return _with_fields(moved, fact, at)


def _with_fields(operation: Operation, fact: Fact, at: Moment) -> Operation:
    match fact:
        case Claimed(generation, host, checkout):
            return replace(
                operation, generation=generation, host=host, checkout=checkout, started_at=at
            )
        case Adopted(generation):
            return replace(operation, generation=generation)
        case WorktreeMade(worktree):
            return replace(operation, worktree=worktree)
        case ThreadBound(thread_id, app_server_id, policy):
            return replace(
                operation, thread_id=thread_id, app_server_id=app_server_id, policy=policy
            )
        case ThreadLost():
            return replace(operation, thread_id=None, app_server_id=None)
        case TurnIntended(last_turn_id):
            return replace(operation, intent=next_intent(operation, last_turn_id))
        case TurnAccepted(turn_id) | TurnContinued(turn_id):
            return replace(operation, turn_id=turn_id, heard_at=at)
        case OwnerChanged(app_server_id):
            return replace(operation, app_server_id=app_server_id)
        case Completed(report) | Done(report):
            return replace(operation, report=report)
        case Failed(trouble) | Interrupted(trouble) | Lost(trouble):
            return replace(operation, trouble=trouble)
        case ApprovalAwaited() | UserInputAwaited() | Resumed() | Cancelled():
            return operation


def next_intent(operation: Operation, last_turn_id: TurnId | None) -> Intent:
    """The intent of the next attempt: a fresh `clientUserMessageId` each time, so that the one
    found in the thread says which attempt was accepted."""
    attempt = 1 if operation.intent is None else operation.intent.attempt + 1
    return Intent(attempt, new_client_message_id(operation.id, attempt), last_turn_id)


def sentence(fact: Fact) -> str:
    """`fact` as a line of the journal."""
    match fact:
        case Claimed(_, host, checkout):
            by = f" by host {host}" if host else ""
            return f"Taken from the queue{by}{f', in {checkout}' if checkout else ''}."
        case Adopted(generation):
            return f"Taken over by worker generation {generation}."
        case WorktreeMade(worktree):
            return f"Works in the git worktree {worktree.path} on branch {worktree.branch}."
        case ThreadBound(thread_id):
            return f"Codex has thread {thread_id} for it."
        case ThreadLost():
            return "Codex does not know the thread: it never had a turn. A new one is needed."
        case TurnIntended():
            return "Asking Codex for a turn."
        case TurnAccepted(turn_id, evidence):
            return f"Codex runs turn {turn_id} ({evidence})."
        case TurnContinued(turn_id):
            return f"Codex goes on by itself with turn {turn_id}."
        case OwnerChanged():
            return "Another app-server process answers for the thread now."
        case ApprovalAwaited():
            return "Codex waits for an approval."
        case UserInputAwaited():
            return "Codex waits for an answer."
        case Resumed():
            return "Codex goes on."
        case Completed():
            return "Completed."
        case Done():
            return "Done; no turn was needed."
        case Failed(trouble) | Lost(trouble):
            return f"{trouble.code}: {trouble.message}"
        case Interrupted(trouble):
            return "Interrupted." if trouble is None else f"Interrupted: {trouble.message}"
        case Cancelled():
            return "Cancelled before any turn began."
