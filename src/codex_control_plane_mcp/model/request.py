"""What a caller wants done, validated and typed; and when two requests are the same."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from codex_control_plane_mcp.model.ids import HostId, ProjectId, ThreadId, TurnId, WorkflowId
from codex_control_plane_mcp.model.plain import from_plain, to_plain
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox

#: The longest message Codex is given, in characters.
MAX_MESSAGE_CHARS = 200_000


class OperationType(StrEnum):
    """The kinds of operation, by their public names."""

    START_CHAT = "start_chat"
    SEND_MESSAGE = "send_message"
    EXECUTE_PLAN = "execute_plan"
    STEER_TURN = "steer_turn"
    FORK_THREAD = "fork_thread"
    REVIEW = "review"
    COMPACT_THREAD = "compact_thread"
    ARCHIVE_THREAD = "archive_thread"
    UNARCHIVE_THREAD = "unarchive_thread"


class CollaborationMode(StrEnum):
    """How Codex works on a turn."""

    DEFAULT = "default"
    #: Codex proposes a plan and changes nothing.
    PLAN = "plan"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class DedupPolicy(StrEnum):
    #: Refuse a prompt that is the same as one still being worked on in the same project.
    ACTIVE_PROMPT_GUARD = "active_prompt_guard"
    #: Only `client_request_id` tells requests apart.
    IDEMPOTENCY_ONLY = "idempotency_only"


# --- Parts of a request --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """How a turn runs. `None` leaves the choice to Codex."""

    sandbox: Sandbox
    approval_policy: ApprovalPolicy
    model: str | None = None
    effort: str | None = None
    collaboration_mode: CollaborationMode = CollaborationMode.DEFAULT
    #: The JSON schema that the final answer must have.
    output_schema: Mapping[str, object] | None = None


#: How closely the model looks at a picture.
ImageDetail: TypeAlias = Literal["auto", "low", "high", "original"]


@dataclass(frozen=True, slots=True)
class LocalImage:
    """A picture on this machine: an absolute path, checked when the task was taken in."""

    type: Literal["local_image"] = field(default="local_image", init=False)
    path: str
    detail: ImageDetail | None = None


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """A picture that the model's provider fetches."""

    type: Literal["image_url"] = field(default="image_url", init=False)
    url: str
    detail: ImageDetail | None = None


Attachment: TypeAlias = LocalImage | RemoteImage


class GoalCompletion(StrEnum):
    """What becomes of a goal when its operation ends."""

    CLEAR = "clear"
    SET_COMPLETE = "set_complete"
    LEAVE = "leave"


@dataclass(frozen=True, slots=True)
class Goal:
    """What Codex shall reach by itself, turn after turn, until its tokens are used."""

    objective: str
    token_budget: int | None = None
    completion_action: GoalCompletion = GoalCompletion.CLEAR
    #: The objective to complete it with, where it shall be another one.
    completion_objective: str | None = None


@dataclass(frozen=True, slots=True)
class UncommittedChanges:
    type: Literal["uncommitted_changes"] = field(default="uncommitted_changes", init=False)


@dataclass(frozen=True, slots=True)
class BaseBranch:
    type: Literal["base_branch"] = field(default="base_branch", init=False)
    branch: str


@dataclass(frozen=True, slots=True)
class Commit:
    type: Literal["commit"] = field(default="commit", init=False)
    sha: str
    title: str | None = None


@dataclass(frozen=True, slots=True)
class CustomTarget:
    type: Literal["custom"] = field(default="custom", init=False)
    instructions: str


#: What a review looks at.
ReviewTarget: TypeAlias = UncommittedChanges | BaseBranch | Commit | CustomTarget


# --- Requests ------------------------------------------------------------------------------------
# Each has a folder, a project, and a `message`: what people read to know which one it is.


@dataclass(frozen=True, slots=True)
class StartChat:
    """A new thread in `cwd` with a first message."""

    type: Literal[OperationType.START_CHAT] = field(default=OperationType.START_CHAT, init=False)
    message: str
    cwd: str
    project_id: ProjectId
    options: TurnOptions
    title: str | None = None
    ephemeral: bool = False
    attachments: tuple[Attachment, ...] = ()
    #: Work in a git worktree of its own instead of `cwd` itself.
    worktree: bool = False


@dataclass(frozen=True, slots=True)
class SendMessage:
    """One more message in a thread that exists."""

    type: Literal[OperationType.SEND_MESSAGE] = field(
        default=OperationType.SEND_MESSAGE, init=False
    )
    message: str
    thread_id: ThreadId
    cwd: str
    project_id: ProjectId
    options: TurnOptions
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecutePlan:
    """Have a plan carried out in the thread in which it was made."""

    type: Literal[OperationType.EXECUTE_PLAN] = field(
        default=OperationType.EXECUTE_PLAN, init=False
    )
    message: str
    thread_id: ThreadId
    cwd: str
    project_id: ProjectId
    options: TurnOptions
    attachments: tuple[Attachment, ...] = ()
    #: Which plan, as `plan_hash` names it.
    plan_hash: str | None = None
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class SteerTurn:
    """More words for a turn that runs. It has no turn of its own, and so no options."""

    type: Literal[OperationType.STEER_TURN] = field(default=OperationType.STEER_TURN, init=False)
    message: str
    thread_id: ThreadId
    expected_turn_id: TurnId
    cwd: str
    project_id: ProjectId
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class ForkThread:
    """A new thread with the history of another, and a first message if there is one."""

    type: Literal[OperationType.FORK_THREAD] = field(default=OperationType.FORK_THREAD, init=False)
    source_thread_id: ThreadId
    cwd: str
    project_id: ProjectId
    options: TurnOptions
    #: "": only the fork is wanted.
    message: str = ""
    title: str | None = None
    ephemeral: bool = False
    attachments: tuple[Attachment, ...] = ()
    #: The last turn to take over; `None`: all.
    last_turn_id: TurnId | None = None


@dataclass(frozen=True, slots=True)
class Review:
    """A code review: in a thread (`thread_id`), in a fork of one (`source_thread_id`), or in a new
    thread of its own."""

    type: Literal[OperationType.REVIEW] = field(default=OperationType.REVIEW, init=False)
    target: ReviewTarget
    cwd: str
    project_id: ProjectId
    options: TurnOptions
    thread_id: ThreadId | None = None
    source_thread_id: ThreadId | None = None

    @property
    def message(self) -> str:
        match self.target:
            case UncommittedChanges():
                return "Review the uncommitted changes."
            case BaseBranch(branch=branch):
                return f"Review the changes against {branch}."
            case Commit(sha=sha):
                return f"Review commit {sha}."
            case CustomTarget(instructions=instructions):
                return instructions


@dataclass(frozen=True, slots=True)
class CompactThread:
    """Have Codex sum up a thread, so that less of it is sent to the model."""

    type: Literal[OperationType.COMPACT_THREAD] = field(
        default=OperationType.COMPACT_THREAD, init=False
    )
    thread_id: ThreadId
    cwd: str
    project_id: ProjectId

    @property
    def message(self) -> str:
        return "Compact the thread."


@dataclass(frozen=True, slots=True)
class ArchiveThread:
    """Put a thread away."""

    type: Literal[OperationType.ARCHIVE_THREAD] = field(
        default=OperationType.ARCHIVE_THREAD, init=False
    )
    thread_id: ThreadId
    cwd: str
    project_id: ProjectId

    @property
    def message(self) -> str:
        return "Archive the thread."


@dataclass(frozen=True, slots=True)
class UnarchiveThread:
    """Bring a thread back."""

    type: Literal[OperationType.UNARCHIVE_THREAD] = field(
        default=OperationType.UNARCHIVE_THREAD, init=False
    )
    thread_id: ThreadId
    cwd: str
    project_id: ProjectId

    @property
    def message(self) -> str:
        return "Bring the thread back."


#: Those that ask the model something in words.
PromptRequest: TypeAlias = StartChat | SendMessage | ExecutePlan | ForkThread
#: Those that have a turn of their own.
TurnRequest: TypeAlias = PromptRequest | Review | CompactThread
TaskRequest: TypeAlias = TurnRequest | SteerTurn | ArchiveThread | UnarchiveThread


@dataclass(frozen=True, slots=True)
class Placement:
    """Which host of a fleet it is for; any, where nothing is said."""

    host: HostId | None = None
    #: What the host must have, each once and in order.
    labels: tuple[str, ...] = ()


ANYWHERE: Final = Placement()


@dataclass(frozen=True, slots=True)
class Submission:
    """A request with how it is to be queued and told apart from others."""

    request: TaskRequest
    client_request_id: str | None = None
    agent_id: str | None = None
    priority: Priority = Priority.NORMAL
    dedup_policy: DedupPolicy = DedupPolicy.ACTIVE_PROMPT_GUARD
    #: What of the project it works on, as paths: `src` excludes `src/api`, "" everything.
    resource_keys: tuple[str, ...] = ()
    #: The workflow that it is a step of.
    workflow_id: WorkflowId | None = None
    placement: Placement = ANYWHERE


def request_to_json(request: TaskRequest) -> dict[str, object]:
    """`request` as JSON data; `request_from_json` reads it back."""
    data: dict[str, object] = to_plain(request)
    return data


def request_from_json(data: dict[str, object]) -> TaskRequest:
    """The request that `request_to_json` wrote.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    request: TaskRequest = from_plain(TaskRequest, data)
    return request


def options_of(request: TaskRequest) -> TurnOptions | None:
    """How its turn is to run; None for those that leave no choice."""
    match request:
        case StartChat() | SendMessage() | ExecutePlan() | ForkThread() | Review():
            return request.options
        case SteerTurn() | CompactThread() | ArchiveThread() | UnarchiveThread():
            return None


def sandbox_of(request: TaskRequest) -> Sandbox:
    """The sandbox a request asks for; the safest for those that touch no file."""
    options = options_of(request)
    return Sandbox.READ_ONLY if options is None else options.sandbox


def output_schema_of(request: TaskRequest) -> Mapping[str, object] | None:
    """The schema that the final answer must have, if one was asked for."""
    match request:
        case StartChat() | SendMessage() | ExecutePlan() | ForkThread() | Review():
            return request.options.output_schema
        case SteerTurn() | CompactThread() | ArchiveThread() | UnarchiveThread():
            return None


def attachments_of(request: TaskRequest) -> tuple[Attachment, ...]:
    """The pictures that go with a message."""
    match request:
        case StartChat() | SendMessage() | ExecutePlan() | ForkThread() | SteerTurn():
            return request.attachments
        case Review() | CompactThread() | ArchiveThread() | UnarchiveThread():
            return ()


def payload_hash(submission: Submission) -> str:
    """Tells whether a repeated `client_request_id` comes with the same payload."""
    return digest(
        {
            "request": request_to_json(submission.request),
            "agent_id": submission.agent_id,
            "priority": submission.priority.value,
            "dedup_policy": submission.dedup_policy.value,
            "resource_keys": submission.resource_keys,
            "workflow_id": submission.workflow_id,
            "placement": to_plain(submission.placement),
        }
    )


def prompt_key(submission: Submission) -> str | None:
    """Equal for prompts that are the same: same project, same text once Unicode form, white space
    and case are set aside, same attachments. Similar is not the same: one other character gives
    another key.

    `None` when the caller wants no such guard, and for what asks the model nothing.
    """
    request = submission.request
    if submission.dedup_policy is DedupPolicy.IDEMPOTENCY_ONLY:
        return None
    match request:
        case StartChat() | SendMessage() | ExecutePlan() | ForkThread() if request.message:
            attached = [to_plain(one) for one in request.attachments]
            return digest([request.project_id, normalised(request.message), attached])
        case Review():
            return digest([request.project_id, to_plain(request.target)])
        case CompactThread() | ArchiveThread() | UnarchiveThread():
            return digest([request.type, request.thread_id])
        case _:
            return None


def normalised(text: str) -> str:
    """`text` in Unicode form NFKC, case folded, with each run of white space as one blank."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def digest(value: object) -> str:
    """Tells JSON data apart."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
