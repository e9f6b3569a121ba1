"""What a caller wants done, validated and typed; and when two requests are the same."""

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from codex_control_plane_mcp.model.ids import ProjectId, ThreadId, TurnId
from codex_control_plane_mcp.model.policy import ApprovalPolicy, Sandbox

#: The longest message Codex is given, in characters.
MAX_MESSAGE_CHARS = 200_000


class OperationType(StrEnum):
    """The kinds of operation, by their public names."""

    START_CHAT = "start_chat"
    SEND_MESSAGE = "send_message"
    STEER_TURN = "steer_turn"


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


@dataclass(frozen=True, slots=True)
class TurnOptions:
    """How a turn runs. `None` leaves the choice to Codex."""

    sandbox: Sandbox
    approval_policy: ApprovalPolicy
    model: str | None = None
    effort: str | None = None
    collaboration_mode: CollaborationMode = CollaborationMode.DEFAULT


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


@dataclass(frozen=True, slots=True)
class SteerTurn:
    """More words for a turn that runs. It has no turn of its own, and so no options."""

    type: Literal[OperationType.STEER_TURN] = field(default=OperationType.STEER_TURN, init=False)
    message: str
    thread_id: ThreadId
    expected_turn_id: TurnId
    cwd: str
    project_id: ProjectId


TaskRequest: TypeAlias = StartChat | SendMessage | SteerTurn
#: Those that have a turn of their own.
TurnRequest: TypeAlias = StartChat | SendMessage


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
    }
    match request:
        case StartChat():
            return shared | {
                "title": request.title,
                "ephemeral": request.ephemeral,
                "options": _options_to_json(request.options),
            }
        case SendMessage():
            return shared | {
                "thread_id": request.thread_id,
                "options": _options_to_json(request.options),
            }
        case SteerTurn():
            return shared | {
                "thread_id": request.thread_id,
                "expected_turn_id": request.expected_turn_id,
            }


def request_from_json(data: dict[str, object]) -> TaskRequest:
    """The request that `request_to_json` wrote.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    message, cwd = str(data["message"]), str(data["cwd"])
    project_id = ProjectId(str(data["project_id"]))
    match OperationType(str(data["type"])):
        case OperationType.START_CHAT:
            title = data["title"]
            return StartChat(
                message=message,
                cwd=cwd,
                project_id=project_id,
                options=_options_from_json(data["options"]),
                title=None if title is None else str(title),
                ephemeral=data["ephemeral"] is True,
            )
        case OperationType.SEND_MESSAGE:
            return SendMessage(
                message=message,
                thread_id=ThreadId(str(data["thread_id"])),
                cwd=cwd,
                project_id=project_id,
                options=_options_from_json(data["options"]),
            )
        case OperationType.STEER_TURN:
            return SteerTurn(
                message=message,
                thread_id=ThreadId(str(data["thread_id"])),
                expected_turn_id=TurnId(str(data["expected_turn_id"])),
                cwd=cwd,
                project_id=project_id,
            )


def _options_to_json(options: TurnOptions) -> dict[str, object]:
    return {
        "sandbox": options.sandbox.value,
        "approval_policy": options.approval_policy.value,
        "model": options.model,
        "effort": options.effort,
        "collaboration_mode": options.collaboration_mode.value,
    }


def _options_from_json(data: object) -> TurnOptions:
    if not isinstance(data, dict):
        raise TypeError("options must be an object")
    return TurnOptions(
        sandbox=Sandbox(data["sandbox"]),
        approval_policy=ApprovalPolicy(data["approval_policy"]),
        model=data["model"],
        effort=data["effort"],
        collaboration_mode=CollaborationMode(data["collaboration_mode"]),
    )


def sandbox_of(request: TaskRequest) -> Sandbox:
    """The sandbox a request asks for. Steering leaves the turn's own as it is."""
    match request:
        case StartChat() | SendMessage():
            return request.options.sandbox
        case SteerTurn():
            return Sandbox.READ_ONLY


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
    and case are set aside. Similar is not the same: one other character gives another key.

    `None` when the caller wants no such guard, and for steering, which starts no work.
    """
    request = submission.request
    if submission.dedup_policy is DedupPolicy.IDEMPOTENCY_ONLY or isinstance(request, SteerTurn):
        return None
    return _digest([request.project_id, normalised(request.message)])


def normalised(text: str) -> str:
    """`text` in Unicode form NFKC, case folded, with each run of white space as one blank."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
