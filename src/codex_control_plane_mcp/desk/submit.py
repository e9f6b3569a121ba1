"""Takes a task in: checked, told apart from others, stored. Codex is not touched.

When this is through, the task is on the disk and will be done once; when it raises, nothing is
stored.
"""

from dataclasses import dataclass, replace

from codex_control_plane_mcp.desk.projects import Place
from codex_control_plane_mcp.desk.texts import plain
from codex_control_plane_mcp.errors import (
    DuplicatePromptActive,
    IdempotencyMismatch,
    InvalidArgument,
    StateBusy,
)
from codex_control_plane_mcp.model.ids import ThreadId, TurnId, new_operation_id
from codex_control_plane_mcp.model.operation import Operation
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox
from codex_control_plane_mcp.model.request import (
    MAX_MESSAGE_CHARS,
    CollaborationMode,
    DedupPolicy,
    OperationType,
    Priority,
    SendMessage,
    StartChat,
    SteerTurn,
    Submission,
    TaskRequest,
    TurnOptions,
    payload_hash,
    prompt_key,
)
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import operations
from codex_control_plane_mcp.store.book import Reading, Writing

MAX_NAME_CHARS = 200
_NAMES = ("client_request_id", "thread_id", "expected_turn_id", "title", "model", "agent_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a caller wants done, in the caller's words."""

    operation_type: OperationType
    message: str
    client_request_id: str | None = None
    project: str | None = None
    cwd: str | None = None
    thread_id: str | None = None
    #: The turn to steer.
    expected_turn_id: str | None = None
    collaboration_mode: CollaborationMode = CollaborationMode.DEFAULT
    title: str | None = None
    model: str | None = None
    sandbox: Sandbox | None = None
    approval_policy: ApprovalPolicy | None = None
    agent_id: str | None = None
    priority: Priority = Priority.NORMAL
    dedup_policy: DedupPolicy = DedupPolicy.ACTIVE_PROMPT_GUARD
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Accepted:
    operation: Operation
    #: An earlier call with the same `client_request_id` had made it.
    idempotent: bool


def check(task: Task) -> None:
    """Raises InvalidArgument for what cannot be meant, whatever the state of things."""
    plain("message", task.message, MAX_MESSAGE_CHARS)
    for name in _NAMES:
        if (text := getattr(task, name)) is not None:
            plain(name, text, MAX_NAME_CHARS)
    match task.operation_type:
        case OperationType.START_CHAT if task.thread_id is not None:
            raise InvalidArgument(
                "start_chat makes a new thread: leave out thread_id and chat_id, or use "
                "send_message",
                field="thread_id",
            )
        case OperationType.SEND_MESSAGE if task.thread_id is None:
            raise InvalidArgument(
                "send_message needs the thread: give thread_id or chat_id", field="thread_id"
            )
        case OperationType.SEND_MESSAGE if task.title is not None or task.ephemeral:
            raise InvalidArgument(
                "title and ephemeral are for a new thread: leave them out of send_message",
                field="title",
            )
        case OperationType.STEER_TURN if task.thread_id is None or task.expected_turn_id is None:
            raise InvalidArgument(
                "steer_turn needs the running turn: give thread_id and expected_turn_id",
                field="expected_turn_id",
            )
        case OperationType.STEER_TURN if task != _steering_only(task):
            raise InvalidArgument(
                "steering leaves the turn as it is: give the message, thread_id and "
                "expected_turn_id, and none of title, model, sandbox, approval_policy, "
                "collaboration_mode and ephemeral",
                field="operation_type",
            )
        case OperationType.START_CHAT | OperationType.SEND_MESSAGE if task.expected_turn_id:
            raise InvalidArgument(
                "expected_turn_id is for steer_turn: leave it out", field="expected_turn_id"
            )
        case OperationType.START_CHAT | OperationType.SEND_MESSAGE | OperationType.STEER_TURN:
            pass


def _steering_only(task: Task) -> Task:
    return replace(
        task,
        title=None,
        model=None,
        sandbox=None,
        approval_policy=None,
        collaboration_mode=CollaborationMode.DEFAULT,
        ephemeral=False,
    )


def submission(task: Task, place: Place, settings: Settings) -> Submission:
    """The task with everything decided that the caller left open."""
    return Submission(
        _request(task, place, settings),
        client_request_id=task.client_request_id,
        agent_id=task.agent_id,
        priority=task.priority,
        dedup_policy=task.dedup_policy,
    )


def enter(writing: Writing, wanted: Submission) -> Accepted:
    """Store a submission, unless it is one that is there already.

    Raises IdempotencyMismatch or DuplicatePromptActive.
    """
    if (earlier := _earlier(writing.connection, wanted)) is not None:
        return Accepted(earlier, idempotent=True)
    entered = operations.try_insert(writing, new_operation_id(writing.now), wanted)
    if entered is not None:
        return Accepted(entered, idempotent=False)
    # Another process was first, at the same moment: now its submission can be seen.
    if (earlier := _earlier(writing.connection, wanted)) is not None:
        return Accepted(earlier, idempotent=True)
    raise StateBusy("the same task was submitted and has ended at this moment; submit it again")


def _request(task: Task, place: Place, settings: Settings) -> TaskRequest:
    options = TurnOptions(
        sandbox=task.sandbox or Sandbox(settings.default_sandbox),
        approval_policy=task.approval_policy or ApprovalPolicy(settings.default_approval_policy),
        model=task.model or settings.default_model,
        effort=settings.default_effort,
        collaboration_mode=task.collaboration_mode,
    )
    if task.thread_id is not None and task.expected_turn_id is not None:
        return SteerTurn(
            message=task.message,
            thread_id=ThreadId(task.thread_id),
            expected_turn_id=TurnId(task.expected_turn_id),
            cwd=place.cwd,
            project_id=place.project_id,
        )
    if task.thread_id is not None:
        return SendMessage(
            message=task.message,
            thread_id=ThreadId(task.thread_id),
            cwd=place.cwd,
            project_id=place.project_id,
            options=options,
        )
    return StartChat(
        message=task.message,
        cwd=place.cwd,
        project_id=place.project_id,
        options=options,
        title=task.title,
        ephemeral=task.ephemeral,
    )


def _earlier(reading: Reading, wanted: Submission) -> Operation | None:
    """The operation that the same `client_request_id` made, if any."""
    if wanted.client_request_id is not None:
        known = operations.by_client_request(reading, wanted.client_request_id)
        if known is not None:
            operation, hashed = known
            if hashed == payload_hash(wanted):
                return operation
            raise IdempotencyMismatch(
                "this client_request_id was used for another task; use a new one for a new task",
                existingOperationId=operation.id,
                clientRequestId=wanted.client_request_id,
            )
    key = prompt_key(wanted)
    same = None if key is None else operations.unfinished_with_prompt(reading, key)
    if same is not None:
        raise DuplicatePromptActive(
            f"the same prompt is being worked on in this project as {same.id}; follow that one "
            "with codex_get_operation_status, or set dedup_policy to idempotency_only",
            existingOperationId=same.id,
            threadId=same.thread_id,
            status=same.status.value,
        )
    return None
