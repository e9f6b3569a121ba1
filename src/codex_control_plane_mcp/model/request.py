"""What a caller wants done, validated and typed; and when two requests are the same."""

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from codex_control_plane_mcp.model.ids import ProjectId, ThreadId
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox

#: The longest message Codex is given, in characters.
MAX_MESSAGE_CHARS = 200_000


class OperationType(StrEnum):
    """The kinds of operation, by their public names."""

    START_CHAT = "start_chat"
    SEND_MESSAGE = "send_message"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class DedupPolicy(StrEnum):
    #: Refuse a prompt that is the same as one still being worked on in the same project.
    ACTIVE_PROMPT_GUARD = "active_prompt_guard"
    #: Only `client_request_id` tells requests apart.
    IDEMPOTENCY_ONLY = "idempotency_only"


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """How a turn runs. `None` leaves the choice to Codex."""

    sandbox: Sandbox
    approval_policy: ApprovalPolicy
    model: str | None = None
    effort: str | None = None


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


TaskRequest: TypeAlias = StartChat | SendMessage


@dataclass(frozen=True, slots=True)
class Submission:
    """A request with how it is to be queued and told apart from others."""

    request: TaskRequest
    client_request_id: str | None = None
    agent_id: str | None = None
    priority: Priority = Priority.NORMAL
    dedup_policy: DedupPolicy = DedupPolicy.ACTIVE_PROMPT_GUARD


def request_to_json(request: TaskRequest) -> dict[str, object]:
    """`request` as JSON data; `request_from_json` reads it back."""
    shared: dict[str, object] = {
        "type": request.type.value,
        "message": request.message,
        "cwd": request.cwd,
        "project_id": request.project_id,
        "options": {
            "sandbox": request.options.sandbox.value,
            "approval_policy": request.options.approval_policy.value,
            "model": request.options.model,
            "effort": request.options.effort,
        },
    }
    match request:
        case StartChat():
            return shared | {"title": request.title, "ephemeral": request.ephemeral}
        case SendMessage():
            return shared | {"thread_id": request.thread_id}


def request_from_json(data: dict[str, object]) -> TaskRequest:
    """The request that `request_to_json` wrote.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    given = data["options"]
    if not isinstance(given, dict):
        raise TypeError("options must be an object")
    options = TurnOptions(
        sandbox=Sandbox(given["sandbox"]),
        approval_policy=ApprovalPolicy(given["approval_policy"]),
        model=given["model"],
        effort=given["effort"],
    )
    message, cwd, project_id = str(data["message"]), str(data["cwd"]), str(data["project_id"])
    match OperationType(str(data["type"])):
        case OperationType.START_CHAT:
            title = data["title"]
            return StartChat(
                message=message,
                cwd=cwd,
                project_id=ProjectId(project_id),
                options=options,
                title=None if title is None else str(title),
                ephemeral=data["ephemeral"] is True,
            )
        case OperationType.SEND_MESSAGE:
            return SendMessage(
                message=message,
                thread_id=ThreadId(str(data["thread_id"])),
                cwd=cwd,
                project_id=ProjectId(project_id),
                options=options,
            )


def payload_hash(submission: Submission) -> str:
    """Tells whether a repeated `client_request_id` comes with the same payload."""
    return _digest(
        {
            "request": request_to_json(submission.request),
            "agent_id": submission.agent_id,
            "priority": submission.priority.value,
            "dedup_policy": submission.dedup_policy.value,
        }
    )


def prompt_key(submission: Submission) -> str | None:
    """Equal for prompts that are the same: same project, same text once Unicode form, white space
    and case are set aside. `None` when the caller wants no such guard. Similar is not the same:
    one other character gives another key."""
    match submission.dedup_policy:
        case DedupPolicy.IDEMPOTENCY_ONLY:
            return None
        case DedupPolicy.ACTIVE_PROMPT_GUARD:
            request = submission.request
            return _digest([request.project_id, normalised(request.message)])


def normalised(text: str) -> str:
    """`text` in Unicode form NFKC, case folded, with each run of white space as one blank."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
