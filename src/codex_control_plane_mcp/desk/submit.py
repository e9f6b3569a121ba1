"""Takes a task in: checked, told apart from others, stored. Codex is not touched.

When this is through, the task is on the disk and will be done once; when it raises, nothing is
stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from codex_control_plane_mcp import git
from codex_control_plane_mcp.desk.inputs import InputItem, joined, look_at, pictures
from codex_control_plane_mcp.desk.keys import resource_keys
from codex_control_plane_mcp.desk.output_schema import strict
from codex_control_plane_mcp.desk.placing import check_pictures
from codex_control_plane_mcp.desk.policy import options_for
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
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox, is_within
from codex_control_plane_mcp.model.request import (
    MAX_MESSAGE_CHARS,
    CollaborationMode,
    DedupPolicy,
    ExecutePlan,
    ForkThread,
    OperationType,
    Placement,
    Priority,
    SendMessage,
    StartChat,
    SteerTurn,
    Submission,
    TaskRequest,
    attachments_of,
    payload_hash,
    prompt_key,
)
from codex_control_plane_mcp.settings import Settings
from codex_control_plane_mcp.store import lookup, operations
from codex_control_plane_mcp.store.book import Reading, Writing

MAX_NAME_CHARS = 200
_NAMES = (
    "client_request_id",
    "thread_id",
    "source_thread_id",
    "last_turn_id",
    "expected_turn_id",
    "title",
    "model",
    "effort",
    "agent_id",
)
#: What Codex is told where a plan is to be carried out and nothing is to be added.
CARRY_OUT = "Carry out the plan."


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a caller wants done, in the caller's words."""

    operation_type: OperationType
    #: Needed for all but execute_plan and fork_thread.
    message: str = ""
    #: Pictures and more text for the message.
    items: tuple[InputItem, ...] = ()
    client_request_id: str | None = None
    project: str | None = None
    cwd: str | None = None
    thread_id: str | None = None
    #: The thread to fork, and the last of its turns to take over.
    source_thread_id: str | None = None
    last_turn_id: str | None = None
    #: The workflow to say more to (see `workflows.revising`).
    workflow_id: str | None = None
    #: The turn to steer.
    expected_turn_id: str | None = None
    collaboration_mode: CollaborationMode = CollaborationMode.DEFAULT
    title: str | None = None
    model: str | None = None
    effort: str | None = None
    sandbox: Sandbox | None = None
    approval_policy: ApprovalPolicy | None = None
    agent_id: str | None = None
    #: What of the project it shall have for itself.
    resource_keys: tuple[str, ...] = ()
    priority: Priority = Priority.NORMAL
    dedup_policy: DedupPolicy = DedupPolicy.ACTIVE_PROMPT_GUARD
    ephemeral: bool = False
    #: The JSON schema that the final answer must have.
    output_schema: Mapping[str, object] | None = None
    #: Work in a git worktree of its own.
    worktree: bool = False
    #: The host of a fleet that shall have it, or what that must have.
    host: str | None = None
    host_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    operation: Operation
    #: An earlier call with the same `client_request_id` had made it.
    idempotent: bool


#: A task that says nothing: what differs from it was said.
_NOTHING = Task(operation_type=OperationType.START_CHAT)


def check(task: Task) -> None:
    """Raises InvalidArgument for what cannot be meant, whatever the state of things."""
    message = joined(task.message, task.items)
    if message or task.operation_type not in _MAY_BE_SILENT:
        plain("message", message, MAX_MESSAGE_CHARS)
    for name in _NAMES:
        if (text := getattr(task, name)) is not None:
            plain(name, text, MAX_NAME_CHARS)
    allowed = _FIELDS.get(task.operation_type)
    if allowed is None:
        raise InvalidArgument(
            f"{task.operation_type} has a tool of its own; codex_submit_task takes "
            f"{', '.join(_FIELDS)}",
            field="operation_type",
        )
    needed, optional = allowed
    for name in _OF_SOME_KINDS:
        given = getattr(task, name) != getattr(_NOTHING, name)
        if name in needed and not given:
            raise InvalidArgument(
                f"{task.operation_type} needs {_SPELLED.get(name, name)}", field=name
            )
        if given and name not in needed | optional:
            raise InvalidArgument(
                f"{task.operation_type} takes no {_SPELLED.get(name, name)}: leave it out"
                f"{_INSTEAD.get((task.operation_type, name), '')}",
                field=name,
            )
    if task.operation_type is OperationType.FORK_THREAD and not message:
        _check_bare_fork(task)
    if task.output_schema is not None:
        _check_schema(task.output_schema, task.collaboration_mode)


def _check_bare_fork(task: Task) -> None:
    if task.items or task.output_schema is not None:
        raise InvalidArgument(
            "input_items and output_schema go with a message: without one the fork is all there is",
            field="message",
        )


def _check_schema(schema: Mapping[str, object], mode: CollaborationMode) -> None:
    strict(schema)
    if mode is CollaborationMode.PLAN:
        raise InvalidArgument(
            "a plan is prose: leave output_schema out, and give it when the plan is carried out",
            field="output_schema",
        )


_MAY_BE_SILENT = frozenset({OperationType.EXECUTE_PLAN, OperationType.FORK_THREAD})
_HOW = frozenset(
    {"model", "effort", "sandbox", "approval_policy", "output_schema", "resource_keys"}
)
_MODE = frozenset({"collaboration_mode"})
_NEW = frozenset({"title", "ephemeral"})
_ITEMS = frozenset({"items"})
#: kind → (what it must have, what it may have), of those that not every kind has
_FIELDS: dict[OperationType, tuple[frozenset[str], frozenset[str]]] = {
    OperationType.START_CHAT: (
        frozenset(),
        _HOW | _MODE | _NEW | _ITEMS | {"worktree", "host", "host_labels"},
    ),
    OperationType.SEND_MESSAGE: (frozenset({"thread_id"}), _HOW | _MODE | _ITEMS),
    OperationType.EXECUTE_PLAN: (frozenset({"thread_id"}), _HOW | _ITEMS),
    OperationType.STEER_TURN: (frozenset({"thread_id", "expected_turn_id"}), _ITEMS),
    OperationType.FORK_THREAD: (
        frozenset({"source_thread_id"}),
        _HOW | _NEW | _ITEMS | {"last_turn_id"},
    ),
}
_OF_SOME_KINDS = sorted(frozenset().union(*(must | may for must, may in _FIELDS.values())))
_SPELLED = {"thread_id": "thread_id (or chat_id)", "items": "input_items"}
_INSTEAD = {
    (OperationType.START_CHAT, "thread_id"): "; send_message goes on in a thread",
    (OperationType.SEND_MESSAGE, "worktree"): "; a thread stays where start_chat began it",
    (OperationType.FORK_THREAD, "thread_id"): "; the thread to fork is source_thread_id",
    (OperationType.SEND_MESSAGE, "host"): "; a thread stays on its host",
    (OperationType.FORK_THREAD, "host"): "; a fork stays on the host of its thread",
}


def submission(task: Task, place: Place, host: Placement, settings: Settings) -> Submission:
    """The task with everything decided that the caller left open.

    Raises InvalidArgument for what the settings do not allow.
    """
    request = _request(task, place, settings)
    check_pictures(request, host, settings)
    return Submission(
        request,
        client_request_id=task.client_request_id,
        agent_id=task.agent_id,
        priority=task.priority,
        dedup_policy=task.dedup_policy,
        resource_keys=resource_keys(task.resource_keys),
        placement=host,
    )


def look_at_inputs(request: TaskRequest, settings: Settings) -> None:
    """Look at the disk: whether the pictures are there, and a worktree can be made.

    Raises InvalidArgument.
    """
    look_at(attachments_of(request), (*settings.roots, settings.worktrees_folder))
    if isinstance(request, StartChat) and request.worktree:
        _check_repository(request.cwd, settings)


def _check_repository(cwd: str, settings: Settings) -> None:
    try:
        repository = git.repository_at(cwd)
    except git.GitError as error:
        raise InvalidArgument(
            f"a worktree needs a git repository with a commit: {error}", field="worktree"
        ) from error
    if not is_within(repository.top, settings.roots):
        raise InvalidArgument(
            "a worktree gets a branch in the repository, and its top leads outside the allowed "
            "folders (CODEX_ALLOWED_ROOTS)",
            field="worktree",
        )


def enter(writing: Writing, wanted: Submission) -> Accepted:
    """Store a submission, unless it is one that is there already.

    Raises IdempotencyMismatch or DuplicatePromptActive.
    """
    if (known := earlier(writing.connection, wanted)) is not None:
        return Accepted(known, idempotent=True)
    entered = operations.try_insert(writing, new_operation_id(writing.now), wanted)
    if entered is not None:
        return Accepted(entered, idempotent=False)
    # Another process was first, at the same moment: now its submission can be seen.
    if (known := earlier(writing.connection, wanted)) is not None:
        return Accepted(known, idempotent=True)
    raise StateBusy("the same task was submitted and has ended at this moment; submit it again")


def _request(task: Task, place: Place, settings: Settings) -> TaskRequest:
    options = options_for(
        settings,
        sandbox=task.sandbox,
        approval_policy=task.approval_policy,
        model=task.model,
        effort=task.effort,
        collaboration_mode=task.collaboration_mode,
        output_schema=task.output_schema,
    )
    message, attachments = joined(task.message, task.items), pictures(task.items, place.cwd)
    cwd, project_id = place.cwd, place.project_id
    thread_id = ThreadId(task.thread_id or "")
    match task.operation_type:
        case OperationType.SEND_MESSAGE:
            return SendMessage(message, thread_id, cwd, project_id, options, attachments)
        case OperationType.EXECUTE_PLAN:
            message = message or CARRY_OUT
            return ExecutePlan(message, thread_id, cwd, project_id, options, attachments)
        case OperationType.STEER_TURN:
            turn_id = TurnId(task.expected_turn_id or "")
            return SteerTurn(message, thread_id, turn_id, cwd, project_id, attachments)
        case OperationType.FORK_THREAD:
            return ForkThread(
                ThreadId(task.source_thread_id or ""),
                cwd,
                project_id,
                options,
                message=message,
                title=task.title,
                ephemeral=task.ephemeral,
                attachments=attachments,
                last_turn_id=TurnId(task.last_turn_id) if task.last_turn_id else None,
            )
        case _:
            return StartChat(
                message,
                cwd,
                project_id,
                options,
                title=task.title,
                ephemeral=task.ephemeral,
                attachments=attachments,
                worktree=task.worktree,
            )


def earlier(reading: Reading, wanted: Submission) -> Operation | None:
    """The operation that the same `client_request_id` made, if any.

    Raises IdempotencyMismatch or DuplicatePromptActive.
    """
    if wanted.client_request_id is not None:
        known = lookup.by_client_request(reading, wanted.client_request_id)
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
    same = None if key is None else lookup.unfinished_with_prompt(reading, key)
    if same is not None:
        raise DuplicatePromptActive(
            f"the same prompt is being worked on in this project as {same.id}; follow that one "
            "with codex_get_operation_status, or set dedup_policy to idempotency_only",
            existingOperationId=same.id,
            threadId=same.thread_id,
            workflowId=same.workflow_id,
            status=same.status.value,
        )
    return None
